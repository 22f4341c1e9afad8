#include <ATen/ATen.h>

#include "guidance/registry.h"
#include "guidance/space.h"

namespace tiller {
namespace {

/// Perp-Neg, arXiv 2304.04968: with e that of the empty prompt, P = D_c - e and N = D_n - e,
/// e + s (P - w (N - <N, P> / |P|^2 P)): the negative prompt acts only across the positive one.
class PerpendicularNegative final : public Guidance {
 public:
  PerpendicularNegative(double scale, double negative) : scale_(scale), negative_(negative) {}

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (!answers.empty()) return {};
    return {{.branch = {step.empty}}, {.branch = {step.negative}}};
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    const Tensor &c = answers[0], &empty = answers[1];
    const Tensor towards = c - empty, away = answers[2] - empty;
    const Tensor along = image_dot(away, towards) / image_dot(towards, towards).clamp_min(1e-24);
    const Tensor across = away - along.to(c.scalar_type()) * towards;
    return empty + scale_ * (towards - negative_ * across) - c;
  }

 private:
  double scale_, negative_;
};

}  // namespace

GuidanceEntry perp_neg_guidance() {
  return {.name = "perp-neg",
          .description = "Perpendicular negative: cfg whose negative can't undo the prompt",
          .paper = "2304.04968",
          .options = {{"scale", "7.5", "guidance scale, from the empty prompt on"},
                      {"negative", "1.5", "weight of the negative prompt"}},
          .needs_negative = true,
          .needs_text = true,
          .needs_empty = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<PerpendicularNegative>(options.number("scale"),
                                                           options.number("negative", 0));
          }};
}

}  // namespace tiller
