#pragma once
#include "io/tensor_file.h"

namespace tiller {

struct AdamWOptions {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};

/// AdamW's moments (arXiv 1711.05101), one pair a weight, in the weights' order.
struct AdamMoments {
  std::vector<Tensor> first, second;
};

AdamMoments zero_moments(const std::vector<Tensor>& weights);

/// One fused step, in place. step: 1 for the first. Weights must have gradients.
void adamw_step(const std::vector<Tensor>& weights, AdamMoments&, int64_t step,
                const AdamWOptions&);

void multiply_gradients(const std::vector<Tensor>& weights, double factor);

/// Scales gradients so that their joint L2 norm is at most `limit`; returns the norm before.
double clip_gradients(const std::vector<Tensor>& weights, double limit);

}  // namespace tiller
