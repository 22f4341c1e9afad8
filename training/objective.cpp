#include "training/objective.h"

#include <ATen/ATen.h>

#include "training/variational_bound.h"

namespace tiller {
namespace {

/// (B, 1, 1, 1).
Tensor column(const std::vector<double>& values, const Tensor& t) {
  const Tensor table = at::tensor(values, at::kDouble).to(t.device(), at::kFloat);
  return table.index_select(0, t).reshape({-1, 1, 1, 1});
}

Tensor target_of(PredictionType type, const Tensor& x0, const Tensor& epsilon, const Tensor& abar) {
  if (type == PredictionType::sample) return x0;
  if (type == PredictionType::epsilon) return epsilon;
  return abar.sqrt() * epsilon - (1 - abar).sqrt() * x0;
}

/// min(SNR, gamma) as the weight of x_0's squared error, told in the prediction's own.
Tensor min_snr_weight(PredictionType type, double gamma, const Tensor& abar) {
  const Tensor snr = (abar / (1 - abar)).flatten(), capped = snr.clamp_max(gamma);
  if (type == PredictionType::sample) return capped;
  // At pure noise an epsilon says nothing of x_0: SNR / SNR is 1.
  if (type == PredictionType::epsilon) return at::where(snr > 0, capped / snr, 1);
  return capped / (snr + 1);
}

}  // namespace

TrainNoise TrainNoise::rows(int64_t first, int64_t count) const {
  const auto narrow = [&](const Tensor& all) {
    return all.defined() ? all.narrow(0, first, count) : all;
  };
  return {narrow(t), narrow(weight), narrow(epsilon), narrow(perturbation)};
}

TrainNoise draw_noise(const Objective& objective, const Tensor& t, const Tensor& weight,
                      at::IntArrayRef sizes, at::Generator generator) {
  const at::TensorOptions real = t.options().dtype(at::kFloat);
  TrainNoise noise{t, weight, at::randn(sizes, generator, real), {}};
  if (objective.input_perturbation > 0) noise.perturbation = at::randn(sizes, generator, real);
  return noise;
}

TrainExample train_example(const Objective& objective, const Tensor& x0, const TrainNoise& noise) {
  const NoiseSchedule& schedule = objective.schedule;
  TrainExample example;
  example.x0 = x0, example.t = noise.t, example.weight = noise.weight;
  const Tensor abar = column(schedule.alphas_cumprod, example.t);
  const Tensor seen = noise.perturbation.defined()
                          ? noise.epsilon + objective.input_perturbation * noise.perturbation
                          : noise.epsilon;
  example.x = abar.sqrt() * x0 + (1 - abar).sqrt() * seen;
  example.timesteps = example.t.to(at::kFloat) * schedule.network_timestep(1);
  example.target = target_of(objective.prediction, x0, noise.epsilon, abar);
  if (objective.min_snr > 0)
    example.error_weight = min_snr_weight(objective.prediction, objective.min_snr, abar);
  return example;
}

Tensor image_losses(const Objective& objective, const Tensor& output, const TrainExample& example) {
  Tensor answer = output.to(at::kFloat);
  Tensor variance;
  if (objective.learned_variance) {
    const auto halves = answer.chunk(2, 1);
    answer = halves[0], variance = halves[1];
  }
  Tensor losses = (answer - example.target).square().flatten(1).mean(1);
  if (example.error_weight.defined()) losses = losses * example.error_weight;
  if (!variance.defined()) return losses;
  const double scale = double(objective.schedule.size()) / 1000;
  return losses + scale * variational_bound(objective.schedule, objective.prediction,
                                            answer.detach(), variance, example);
}

}  // namespace tiller
