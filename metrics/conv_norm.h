#pragma once
#include "models/weights.h"

namespace tiller {

/// A convolution without bias and the batch normalisation behind it, folded into one.
struct ConvNorm {
  Tensor weight, bias;
  std::vector<int64_t> stride = {1, 1}, padding = {0, 0};
  int64_t groups = 1;
  Tensor operator()(const Tensor& x) const;
};

/// What a ConvNorm is made of. The kernel is (height, width).
struct ConvNormShape {
  int64_t in, out;
  std::vector<int64_t> kernel;
  int64_t stride = 1;
  std::vector<int64_t> padding = {0, 0};
  int64_t groups = 1;
  double eps = 1e-5;
};

/// From `conv`.weight and `norm`.weight, bias, running_mean and running_var.
ConvNorm take_conv_norm(Weights&, const std::string& conv, const std::string& norm,
                        const ConvNormShape&);

}  // namespace tiller
