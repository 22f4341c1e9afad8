#include "models/edm_preconditioning.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

/// The t at which beta's integral reaches ln(1 + sigma^2).
Tensor vp_time(const EdmPreconditioner& by, const Tensor& sigma) {
  const Tensor integral = sigma.square().log1p();
  return ((by.beta_min * by.beta_min + 2 * by.beta_d * integral).sqrt() - by.beta_min) / by.beta_d;
}

}  // namespace

const std::vector<std::string>& edm_preconditioner_names() {
  static const std::vector<std::string> names = {"edm", "vp", "ve"};
  return names;
}

EdmRetelling retell(const EdmPreconditioner& by, const Tensor& t) {
  const auto real = [](const Tensor& x) { return x.to(at::kFloat); };
  const Tensor sigma = (4 * t.to(at::kDouble)).exp();
  const Tensor norm = (sigma.square() + 0.25).sqrt();  // y = x / norm
  switch (by.kind) {
    case EdmPreconditioner::Kind::vp:
      return {real(norm / (sigma.square() + 1).sqrt()),
              real((by.timesteps - 1) * vp_time(by, sigma)), real(2 * sigma), real(-2 * norm)};
    case EdmPreconditioner::Kind::ve:
      return {real(norm), real((sigma / 2).log()), real(2 * sigma), real(2 * norm)};
    case EdmPreconditioner::Kind::edm:
      break;
  }
  const double data = by.sigma_data;
  const Tensor squared = sigma.square() + data * data, own = squared.sqrt();
  return {real(norm / own), real(t), real(2 * (data * data - 0.25) * sigma / squared),
          real(2 * data * norm / own)};
}

}  // namespace tiller
