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
  const Tensor gain = of_channel("weight"), shift = of_channel("bias"),
               mean = of_channel("running_mean"), variance = of_channel("running_var");
  weights.ignore(norm + ".num_batches_tracked");
  ConvNorm folded{
      .stride = {shape.stride, shape.stride}, .padding = shape.padding, .groups = shape.groups};
  for (const auto& tensor : {weight, gain, shift, mean, variance})
    if (tensor.is_meta()) return folded;  // `finish` will say so
  const Tensor scale = gain * (variance + shape.eps).rsqrt();
  folded.weight = (weight.to(at::kDouble) * scale.view({-1, 1, 1, 1}))
                      .to(at::kFloat)
                      .contiguous(at::MemoryFormat::ChannelsLast);
  folded.bias = (shift - mean * scale).to(at::kFloat);
  return folded;
}

}  // namespace tiller
