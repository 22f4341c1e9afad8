#include "guidance/perturbed.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

class PerturbedGuidance final : public Guidance {
 public:
  PerturbedGuidance(double scale, std::unique_ptr<Perturbation> perturbation)
      : scale_(scale), perturbation_(std::move(perturbation)) {}

  void begin_step(const GuidanceStep& step) override {
    if (scale_ != 0) perturbation_->begin_step(step.context);
  }

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (scale_ == 0 || !answers.empty()) return {};
    return {{.branch = {step.positive, perturbation_.get()}}};
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (scale_ == 0) return {};
    return scale_ * difference(answers[0], answers[1]);
  }

 private:
  double scale_;
  std::unique_ptr<Perturbation> perturbation_;
};

}  // namespace

std::unique_ptr<Guidance> perturbed_guidance(double scale,
                                             std::unique_ptr<Perturbation> perturbation) {
  return std::make_unique<PerturbedGuidance>(scale, std::move(perturbation));
}

std::vector<Option> perturbed_options(const std::string& scale, const std::string& layers) {
  return {{"scale", scale, "strength; 0: off"},
          {"layers", layers, "where it acts, e.g. mid, d2-5, u0+u3"}};
}

}  // namespace tiller
