#include <ATen/ATen.h>

#include "guidance/registry.h"

namespace tiller {
namespace {

/// Classifier-free guidance, arXiv 2207.12598: D_c + (s - 1)(D_c - D_u), which is
/// D_u + s (D_c - D_u). The unconditional branch sees the negative prompt or the null label.
class ClassifierFree final : public Guidance {
 public:
  explicit ClassifierFree(double scale) : scale_(scale) {}
  bool is_idle() const override { return scale_ == 1; }

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (is_idle() || !answers.empty()) return {};
    return {{.branch = {step.negative, nullptr}}};
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (is_idle()) return {};
    return (scale_ - 1) * difference(answers[0], answers[1]);
  }

 private:
  double scale_;
};

}  // namespace

GuidanceEntry cfg_guidance() {
  return {.name = "cfg",
          .description = "Classifier-free: away from the unconditional or negative prediction",
          .paper = "2207.12598",
          .options = {{"scale", "7.5", "guidance scale; 1: off"}},
          .needs_negative = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<ClassifierFree>(options.number("scale"));
          }};
}

}  // namespace tiller
