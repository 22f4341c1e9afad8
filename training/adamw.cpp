#include "training/adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace tiller {
namespace {

std::vector<Tensor> gradients(const std::vector<Tensor>& weights) {
  std::vector<Tensor> result;
  for (const auto& weight : weights) result.push_back(weight.grad());
  return result;
}

}  // namespace

AdamMoments zero_moments(const std::vector<Tensor>& weights) {
  AdamMoments moments;
  for (const auto& weight : weights) {
    moments.first.push_back(at::zeros_like(weight));
    moments.second.push_back(at::zeros_like(weight));
  }
  return moments;
}

void adamw_step(const std::vector<Tensor>& weights, AdamMoments& moments, int64_t step,
                const AdamWOptions& options) {
  const at::NoGradGuard guard;
  const std::vector<Tensor> steps(
      weights.size(), at::full({}, static_cast<double>(step), weights.front().options()));
  at::_fused_adamw_(weights, gradients(weights), moments.first, moments.second, {}, steps,
                    options.lr, options.beta1, options.beta2, options.weight_decay, options.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

void multiply_gradients(const std::vector<Tensor>& weights, double factor) {
  const at::NoGradGuard guard;
  at::_foreach_mul_(gradients(weights), factor);
}

double clip_gradients(const std::vector<Tensor>& weights, double limit) {
  const at::NoGradGuard guard;
  const auto grads = gradients(weights);
  const auto norms = at::_foreach_norm(grads, 2);
  const double norm = at::stack(norms).norm().item<double>();
  if (limit > 0 && norm > limit)
    for (auto gradient : grads) gradient.mul_(limit / (norm + 1e-6));
  return norm;
}

}  // namespace tiller
