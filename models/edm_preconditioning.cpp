#include "models/edm_preconditioning.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <tuple>

namespace tiller {
namespace {

/// The t at which beta's integral reaches ln(1 + sigma^2).
Tensor vp_time(const EdmPreconditioner& by, const Tensor& sigma) {
  const Tensor integral = sigma.square().log1p();
  return ((by.beta_min * by.beta_min + 2 * by.beta_d * integral).sqrt() - by.beta_min) / by.beta_d;
}

/// iddpm_sigmas on a device, brought there once: while an evaluation is recorded nothing can be.
Tensor known_sigmas(const EdmPreconditioner& by, at::Device device) {
  static std::mutex mutex;
  static std::map<std::tuple<int64_t, double, double, std::string>, Tensor> all;
  const std::lock_guard lock(mutex);
  Tensor& known = all[{by.timesteps, by.c1, by.c2, device.str()}];
  if (!known.defined()) known = at::tensor(iddpm_sigmas(by), at::kDouble).to(device);
  return known;
}

/// What an iddpm network is told: the timestep of the nearest sigma.
Tensor iddpm_timestep(const EdmPreconditioner& by, const Tensor& sigma) {
  const Tensor known = known_sigmas(by, sigma.device());
  const Tensor nearest = (sigma.unsqueeze(1) - known.unsqueeze(0)).abs().argmin(1);
  return double(by.timesteps - 1) - nearest;
}

/// abar(j - 1) / abar(j) of the cosine schedule, which runs backwards here.
double iddpm_ratio(const EdmPreconditioner& by, int64_t j) {
  const auto alpha_bar = [&](int64_t at) {
    const double turn = std::numbers::pi / 2 * double(at) / double(by.timesteps) / (by.c2 + 1);
    return std::pow(std::sin(turn), 2);
  };
  return std::max(by.c1, alpha_bar(j - 1) / alpha_bar(j));
}

}  // namespace

std::vector<double> iddpm_sigmas(const EdmPreconditioner& by) {
  std::vector<double> sigmas(size_t(by.timesteps) + 1);
  for (int64_t j = by.timesteps; j > 0; --j) {
    const double cleaner = sigmas[size_t(j)];
    sigmas[size_t(j - 1)] = std::sqrt((cleaner * cleaner + 1) / iddpm_ratio(by, j) - 1);
  }
  return sigmas;
}

const std::vector<std::string>& edm_preconditioner_names() {
  static const std::vector<std::string> names = {"edm", "vp", "ve", "iddpm"};
  return names;
}

bool is_edm_scheduler(const std::string& class_name) { return class_name.starts_with("EDM"); }

bool has_edm_scheduler(const nlohmann::json& config) {
  const auto name = config.find("_class_name");
  return name != config.end() && name->is_string() && is_edm_scheduler(*name);
}

EdmRetelling retell(const EdmPreconditioner& by, const Tensor& t) {
  const auto real = [](const Tensor& x) { return x.to(at::kFloat); };
  const Tensor sigma = (4 * t.to(at::kDouble)).exp();
  const Tensor norm = (sigma.square() + 0.25).sqrt();  // y = x / norm
  const auto told = [&](const Tensor& in, const Tensor& timestep, double sign) {
    return EdmRetelling{real(in), real(timestep), real(2 * sigma), real(sign * 2 * norm)};
  };
  const Tensor preserving = norm / (sigma.square() + 1).sqrt();
  switch (by.kind) {
    case EdmPreconditioner::Kind::vp:
      return told(preserving, double(by.timesteps - 1) * vp_time(by, sigma), -1);
    case EdmPreconditioner::Kind::iddpm:
      return told(preserving, iddpm_timestep(by, sigma), -1);
    case EdmPreconditioner::Kind::ve:
      return told(norm, (sigma / 2).log(), 1);
    case EdmPreconditioner::Kind::edm:
      break;
  }
  const double data = by.sigma_data;
  const Tensor squared = sigma.square() + data * data, own = squared.sqrt();
  return {real(norm / own), real(t), real(2 * (data * data - 0.25) * sigma / squared),
          real((by.negative ? -2 : 2) * data * norm / own)};
}

}  // namespace tiller
