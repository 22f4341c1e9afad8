#include <ATen/ATen.h>

#include "guidance/registry.h"

namespace tiller {
namespace {

/// CFG++, arXiv 2406.08070: the sample comes from D_u + l (D_c - D_u) with l in [0, 1], the noise
/// that the sampler leaves in it from D_u.
class Manifold final : public Guidance {
 public:
  explicit Manifold(double scale) : scale_(scale) {}

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (!answers.empty()) return {};
    return {{.branch = {step.negative}}};
  }
  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    return (scale_ - 1) * difference(answers[0], answers[1]);
  }
  Tensor renoise(const GuidanceStep&, std::span<const Tensor> answers) override {
    return answers[1];
  }

 private:
  double scale_;
};

}  // namespace

GuidanceEntry cfg_plus_plus_guidance() {
  return {.name = "cfg++",
          .description = "Manifold-constrained: cfg, noised with the unconditional prediction",
          .paper = "2406.08070",
          .options = {{"scale", "0.6", "share of the way to the conditional one, 0 to 1"}},
          .needs_negative = true,
          .renoises = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<Manifold>(options.number("scale", 0, 1));
          }};
}

}  // namespace tiller
