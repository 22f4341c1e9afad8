#pragma once
#include <ATen/core/Tensor.h>

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace tiller {
using at::Tensor;

/// How a network's output F and the noisy sample x become an estimate of x_0, arXiv 2206.00364,
/// table 1: x_0 = c_skip x + c_out F(c_in x, c_noise).
struct EdmPreconditioner {
  enum class Kind { edm, vp, ve, iddpm };
  Kind kind = Kind::edm;
  double sigma_data = 0.5;               ///< edm: the data's standard deviation.
  bool negative = false;                 ///< edm: c_out is below zero, as where v is predicted.
  double beta_d = 19.9, beta_min = 0.1;  ///< vp: beta(t) = beta_d t + beta_min.
  double c1 = 0.001, c2 = 0.008;  ///< iddpm: the largest step of its cosine schedule, its offset.
  int64_t timesteps = 1000;       ///< vp and iddpm: told from 0 to this, less one.
  bool operator==(const EdmPreconditioner&) const = default;
};

/// The kinds' names: "edm", "vp", "ve" and "iddpm", in their order.
const std::vector<std::string>& edm_preconditioner_names();

/// Whether diffusers' scheduler of that name preconditions, EDMEulerScheduler and
/// EDMDPMSolverMultistepScheduler.
bool is_edm_scheduler(const std::string& class_name);
/// The same of a scheduler_config.json, or null.
bool has_edm_scheduler(const nlohmann::json& config);

/// What an iddpm network was trained on, the largest first: as many as timesteps, and zero.
std::vector<double> iddpm_sigmas(const EdmPreconditioner&);

/// A preconditioned network as PredictionType::edm has it, where sigma_data is 1/2:
/// F = skip y + out F'(in y, timestep), y being what such a network sees. (B) each, float32.
struct EdmRetelling {
  Tensor in, timestep, skip, out;
};
/// t: (B), ln(sigma) / 4.
EdmRetelling retell(const EdmPreconditioner&, const Tensor& t);

}  // namespace tiller
