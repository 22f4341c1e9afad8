#include "metrics/conv_norm.h"

#include <ATen/ATen.h>

namespace tiller {

Tensor ConvNorm::operator()(const Tensor& x) const {
  return at::conv2d(x, weight, bias, stride, padding, 1, groups);
}

ConvNorm take_conv_norm(Weights& weights, const std::string& conv, const std::string& norm,
                        const ConvNormShape& shape) {
  const Tensor weight = weights.take(
      conv + ".weight", {shape.out, shape.in / shape.groups, shape.kernel[0], shape.kernel[1]});
  const auto of_channel = [&](const std::string& name) {
    return weights.take(norm + "." + name, {shape.out}).to(at::kDouble);
  };
  const Tensor gain = of_channel("weight") * (of_channel("running_var") + shape.eps).rsqrt();
  const Tensor bias = of_channel("bias") - of_channel("running_mean") * gain;
  weights.ignore(norm + ".num_batches_tracked");
  const Tensor folded = (weight.to(at::kDouble) * gain.view({-1, 1, 1, 1})).to(at::kFloat);
  return {folded.contiguous(at::MemoryFormat::ChannelsLast),
          bias.to(at::kFloat),
          {shape.stride, shape.stride},
          shape.padding,
          shape.groups};
}

}  // namespace tiller
