#include "training/objective.h"

#include <ATen/ATen.h>

#include <cmath>

#include "io/error.h"
#include "models/adm_config.h"
#include "training/dataset_formats.h"
#include "training/options.h"
#include "training/variational_bound.h"

namespace tiller {
namespace {

/// (B, 1, 1, 1).
Tensor column(const std::vector<double>& values, const Tensor& t) {
  const Tensor table = at::tensor(values, at::kDouble).to(t.device(), at::kFloat);
  return table.index_select(0, t).reshape({-1, 1, 1, 1});
}

/// A function of abar, computed in float64: near the image 1 - abar loses its digits in float32.
template <class Function>
Tensor of_abar(const NoiseSchedule& schedule, const Tensor& t, const Function& function) {
  std::vector<double> values;
  for (const double abar : schedule.alphas_cumprod) values.push_back(function(abar));
  return column(values, t);
}

double noise_level(double abar) { return std::sqrt(1 - abar); }
double signal_level(double abar) { return std::sqrt(abar); }

/// EDM's distribution of ln(sigma).
constexpr double log_sigma_mean = -1.2, log_sigma_std = 1.2;

/// min(SNR, gamma) as the weight of x_0's squared error, told in the prediction's own.
double min_snr_weight(PredictionType type, double gamma, double abar) {
  const double snr = abar / (1 - abar), capped = std::min(snr, gamma);
  if (type == PredictionType::sample) return capped;
  // At pure noise an epsilon says nothing of x_0: SNR / SNR is 1.
  if (type == PredictionType::epsilon) return snr > 0 ? capped / snr : 1;
  return capped / (snr + 1);
}

}  // namespace

void check_objective(const TrainOptions& options, PredictionType prediction) {
  const bool edm = prediction == PredictionType::edm;
  const std::string type = "prediction_type " + prediction_type_name(prediction);
  if (options.augmented && !edm)
    throw UsageError("--pfgmpp: got it with " + type + ", expected edm.");
  if (options.augmented < 0 || options.augmented > AdmConfig::most_augmented)
    throw UsageError("--pfgmpp: got " + std::to_string(options.augmented) +
                     ", expected a whole number from 1 to " +
                     std::to_string(AdmConfig::most_augmented) + ".");
  if (is_pairs(options.data) && !is_flow(prediction))
    throw UsageError("--data: got pairs of noise and samples with " + type +
                     ", expected images: pairs teach flows (prediction_type flow or "
                     "rectified_flow).");
  if (options.min_snr > 0 && (edm || is_flow(prediction)))
    throw UsageError("--min-snr: got it with " + type + ", expected epsilon, sample or v.");
  if (edm && options.timesteps != TimestepRule::uniform)
    throw UsageError("--timesteps: got loss-second-moment with " + type +
                     ", which has no timesteps, expected uniform.");
}

TrainNoise TrainNoise::rows(int64_t first, int64_t count) const {
  const auto narrow = [&](const Tensor& all) {
    return all.defined() ? all.narrow(0, first, count) : all;
  };
  return {narrow(t), narrow(sigma), narrow(weight), narrow(epsilon), narrow(perturbation)};
}

namespace {

/// sqrt(chi^2_D / D), what turns normal noise into PFGM++'s of D augmented dimensions; (B, 1, 1,
/// 1).
Tensor spread(int64_t augmented, int64_t batch, at::Generator generator, at::TensorOptions real) {
  const Tensor shape = at::full({batch, 1, 1, 1}, double(augmented) / 2, real);
  return (at::_standard_gamma(shape, generator) / shape).sqrt();
}

}  // namespace

TrainNoise draw_noise(const Objective& objective, const Tensor& t, const Tensor& weight,
                      at::IntArrayRef sizes, at::Generator generator) {
  const at::TensorOptions real = t.options().dtype(at::kFloat);
  TrainNoise noise{t, {}, weight, at::randn(sizes, generator, real), {}};
  if (objective.prediction == PredictionType::edm)
    noise.sigma = (log_sigma_mean + log_sigma_std * at::randn({sizes[0]}, generator, real)).exp();
  if (objective.augmented > 0)
    noise.epsilon = noise.epsilon / spread(objective.augmented, sizes[0], generator, real);
  if (objective.input_perturbation > 0) noise.perturbation = at::randn(sizes, generator, real);
  return noise;
}

namespace {

Tensor column_of(const Tensor& rows) { return rows.reshape({-1, 1, 1, 1}); }

void add_edm_example(TrainExample& example, const TrainNoise& noise, const Tensor& seen) {
  const Tensor sigma = column_of(noise.sigma), data = at::full_like(sigma, edm_sigma_data);
  const Tensor norm = at::hypot(sigma, data), skip = (data / norm).square();
  example.x = (example.x0 + sigma * seen) / norm;
  example.timesteps = noise.sigma.log() / 4;
  const Tensor noisy = example.x0 + sigma * noise.epsilon;
  example.target = (example.x0 - skip * noisy) * norm / (sigma * data);
}

void add_flow_example(const Objective& objective, TrainExample& example, const TrainNoise& noise,
                      const Tensor& seen) {
  std::vector<double> sigmas;
  for (int64_t t = 0; t < objective.schedule.size(); ++t)
    sigmas.push_back(objective.schedule.flow_sigma(double(t)));
  const Tensor sigma = column(sigmas, example.t);
  example.x = (1 - sigma) * example.x0 + sigma * seen;
  example.target = noise.epsilon - example.x0;
  if (objective.prediction == PredictionType::rectified_flow) example.target.neg_();
}

void add_table_example(const Objective& objective, TrainExample& example, const TrainNoise& noise,
                       const Tensor& seen) {
  const PredictionType type = objective.prediction;
  const auto column = [&](const auto& function) {
    return of_abar(objective.schedule, example.t, function);
  };
  const Tensor signal = column(signal_level), level = column(noise_level);
  example.x = signal * example.x0 + level * seen;
  example.target = type == PredictionType::sample    ? example.x0
                   : type == PredictionType::epsilon ? noise.epsilon
                                                     : signal * noise.epsilon - level * example.x0;
  if (objective.min_snr > 0)
    example.error_weight = column([&](double abar) {
                             return min_snr_weight(type, objective.min_snr, abar);
                           }).flatten();
}

Tensor network_timesteps(const NoiseSchedule& schedule, const Tensor& t) {
  std::vector<double> table;
  for (int64_t i = 0; i < schedule.size(); ++i)
    table.push_back(schedule.network_timestep(double(i)));
  return column(table, t).flatten();
}

}  // namespace

TrainExample train_example(const Objective& objective, const Tensor& x0, const TrainNoise& noise) {
  TrainExample example{.weight = noise.weight, .x0 = x0, .t = noise.t};
  const Tensor seen = noise.perturbation.defined()
                          ? noise.epsilon + objective.input_perturbation * noise.perturbation
                          : noise.epsilon;
  if (objective.prediction == PredictionType::edm) {
    add_edm_example(example, noise, seen);
    return example;
  }
  example.timesteps = network_timesteps(objective.schedule, noise.t);
  if (is_flow(objective.prediction))
    add_flow_example(objective, example, noise, seen);
  else
    add_table_example(objective, example, noise, seen);
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
  const double scale = objective.rescaled_bound ? double(objective.schedule.size()) / 1000 : 1;
  return losses + scale * variational_bound(objective.schedule, objective.prediction,
                                            answer.detach(), variance, example);
}

}  // namespace tiller
