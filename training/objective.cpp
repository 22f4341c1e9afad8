#include "training/objective.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

Tensor column(const std::vector<double>& values, const Tensor& t) {
  const Tensor table = at::tensor(values, at::kDouble).to(t.device(), at::kFloat);
  return table.index_select(0, t).reshape({-1, 1, 1, 1});
}

/// abar: (B, 1, 1, 1).
Tensor target_of(PredictionType type, const Tensor& x0, const Tensor& epsilon, const Tensor& abar) {
  if (type == PredictionType::sample) return x0;
  if (type == PredictionType::epsilon) return epsilon;
  return abar.sqrt() * epsilon - (1 - abar).sqrt() * x0;
}

}  // namespace

TrainExample input_perturbed(const Tensor& x0, const NoiseSchedule& schedule, PredictionType type,
                             double gamma, at::Generator generator) {
  const at::TensorOptions real = x0.options().dtype(at::kFloat);
  const Tensor t = at::randint(schedule.size(), {x0.size(0)}, generator, real.dtype(at::kLong));
  const Tensor epsilon = at::randn(x0.sizes(), generator, real);
  Tensor noise = epsilon;
  if (gamma > 0) noise = epsilon + gamma * at::randn(x0.sizes(), generator, real);
  const Tensor abar = column(schedule.alphas_cumprod, t);
  TrainExample example;
  example.x = abar.sqrt() * x0 + (1 - abar).sqrt() * noise;
  example.timesteps = t.to(at::kFloat) * schedule.network_timestep(1);
  example.target = target_of(type, x0, epsilon, abar);
  return example;
}

Tensor simple_loss(const Tensor& output, const Tensor& target) {
  return at::mse_loss(output.to(at::kFloat), target);
}

}  // namespace tiller
