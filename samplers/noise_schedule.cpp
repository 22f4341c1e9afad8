#include "samplers/noise_schedule.h"

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "io/error.h"

namespace tiller {
namespace {

using at::Tensor;

/// arXiv 2102.09672, equation 17: abar as a function of u = t / T.
double cosine_alpha_bar(double u) {
  const double c = std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2);
  return c * c;
}

/// arXiv 2301.10972, algorithm 1, from -3 to 3 at temperature 1.
double sigmoid_alpha_bar(double u) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  return (sigmoid(3) - sigmoid(6 * u - 3)) / (sigmoid(3) - sigmoid(-3));
}

std::vector<double> betas_of(double (*alpha_bar)(double), int64_t timesteps) {
  std::vector<double> betas(timesteps);
  for (int64_t t = 0; t < timesteps; ++t) {
    const double ratio = alpha_bar(double(t + 1) / timesteps) / alpha_bar(double(t) / timesteps);
    betas[t] = std::min(1 - ratio, 0.999);
  }
  return betas;
}

Tensor diffusers_betas(const BetaTable& table) {
  const auto float32 = at::TensorOptions(at::kFloat);
  if (!table.trained.empty()) return at::tensor(table.trained, at::kDouble).to(at::kFloat);
  if (table.schedule == "linear")
    return at::linspace(table.start, table.end, table.timesteps, float32);
  if (table.schedule == "scaled_linear")
    return at::linspace(std::sqrt(table.start), std::sqrt(table.end), table.timesteps, float32)
        .square();
  if (table.schedule == "squaredcos_cap_v2" || table.schedule == "cosine")
    return at::tensor(betas_of(cosine_alpha_bar, table.timesteps), at::kDouble).to(at::kFloat);
  if (table.schedule == "sigmoid")
    return at::linspace(-6, 6, table.timesteps, float32).sigmoid() * (table.end - table.start) +
           table.start;
  throw Error("beta_schedule: got '" + table.schedule +
              "', expected linear, scaled_linear, squaredcos_cap_v2 or sigmoid.");
}

/// Shifts and scales sqrt(abar) so that it ends at zero and starts where it did. Returns alphas:
/// the product over them rounds as in diffusers.
Tensor to_zero_terminal_snr(const Tensor& alphas_cumprod) {
  const Tensor root = alphas_cumprod.sqrt();
  const Tensor first = root[0], last = root[-1];
  const Tensor rescaled = ((root - last) * (first / (first - last))).square();
  const Tensor ratios = rescaled.slice(0, 1) / rescaled.slice(0, 0, -1);
  return 1 - (1 - at::cat({rescaled.slice(0, 0, 1), ratios}));
}

std::vector<double> to_vector(const Tensor& tensor) {
  const Tensor values = tensor.to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

void require_timesteps(int64_t timesteps) {
  if (timesteps < 1 || timesteps > 1'000'000)
    throw Error("timesteps of the noise schedule: got " + std::to_string(timesteps) +
                ", expected 1 to 1000000.");
}

}  // namespace

namespace {

double edm_sigma(const NoiseSchedule& schedule, double t, int64_t timesteps) {
  const double share = t / double(std::max<int64_t>(1, timesteps - 1));
  return schedule.sigma_min * std::pow(schedule.sigma_max / schedule.sigma_min, share);
}

}  // namespace

NoiseSchedule edm_schedule(int64_t timesteps, double sigma_min, double sigma_max) {
  require_timesteps(timesteps);
  NoiseSchedule schedule;
  schedule.edm = true;
  schedule.sigma_min = sigma_min;
  schedule.sigma_max = sigma_max;
  for (int64_t t = 0; t < timesteps; ++t) {
    const double sigma = edm_sigma(schedule, double(t), timesteps);
    schedule.alphas_cumprod.push_back(1 / (1 + sigma * sigma));
  }
  return schedule;
}

double shifted_sigma(double sigma, double shift) {
  return shift * sigma / (1 + (shift - 1) * sigma);
}

double NoiseSchedule::flow_sigma(double t) const {
  return shifted_sigma((t + 1) / static_cast<double>(size()), shift);
}

double NoiseSchedule::network_timestep(double t) const {
  if (edm) return edm_timestep(edm_sigma(*this, t, size()));
  if (flow) return flow_timestep(*flow, flow_sigma(t), size());
  return rescale_timesteps ? t * 1000.0 / static_cast<double>(size()) : t;
}

double NoiseSchedule::table_timestep(double network) const {
  if (edm) {
    const double from = network_timestep(0), to = network_timestep(double(size() - 1));
    return (network - from) / (to - from) * double(size() - 1);
  }
  if (!flow) return network / network_timestep(1);
  const double from = flow_timestep(*flow, 0, size()), to = flow_timestep(*flow, 1, size());
  const double sigma = (network - from) / (to - from);
  return shifted_sigma(sigma, 1 / shift) * static_cast<double>(size()) - 1;
}

NoiseSchedule flow_schedule(PredictionType type, int64_t timesteps, double shift) {
  require_timesteps(timesteps);
  NoiseSchedule schedule;
  schedule.alphas_cumprod.resize(timesteps);
  schedule.flow = type;
  schedule.shift = shift;
  for (int64_t t = 0; t < timesteps; ++t) {
    const double sigma = schedule.flow_sigma(double(t)), alpha = 1 - sigma;
    schedule.alphas_cumprod[t] = alpha * alpha / (alpha * alpha + sigma * sigma);
  }
  return schedule;
}

NoiseSchedule diffusers_schedule(const BetaTable& table) {
  require_timesteps(table.timesteps);
  Tensor alphas_cumprod = (1 - diffusers_betas(table)).cumprod(0);
  if (table.zero_terminal_snr) alphas_cumprod = to_zero_terminal_snr(alphas_cumprod).cumprod(0);
  const bool cosine = table.schedule == "squaredcos_cap_v2" || table.schedule == "cosine";
  return {to_vector(alphas_cumprod), cosine};
}

NoiseSchedule guided_diffusion_schedule(const std::string& name, int64_t timesteps,
                                        bool rescale_timesteps, bool zero_terminal_snr) {
  require_timesteps(timesteps);
  const bool cosine = name == "cosine";
  Tensor betas;
  if (cosine)
    betas = at::tensor(betas_of(cosine_alpha_bar, timesteps), at::kDouble);
  else if (name == "sigmoid")
    betas = at::tensor(betas_of(sigmoid_alpha_bar, timesteps), at::kDouble);
  else if (name == "linear")
    betas = at::linspace(1e-4, 0.02, timesteps, at::kDouble) * (1000.0 / double(timesteps));
  else
    throw Error("noise_schedule: got '" + name + "', expected linear, cosine or sigmoid.");
  if (betas.max().item<double>() > 1)
    throw Error(
        "diffusion_steps: got " + std::to_string(timesteps) +
        ", expected at least 20 with noise_schedule linear, whose betas exceed 1 otherwise.");
  Tensor alphas_cumprod = (1 - betas).cumprod(0);
  if (zero_terminal_snr) alphas_cumprod = to_zero_terminal_snr(alphas_cumprod).cumprod(0);
  return {to_vector(alphas_cumprod), cosine, rescale_timesteps};
}

}  // namespace tiller
