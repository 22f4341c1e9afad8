#include <ATen/ATen.h>

#include "guidance/registry.h"
#include "guidance/space.h"

namespace tiller {
namespace {

/// Tangential Amplifying Guidance, arXiv 2510.04533, equation 16: what of the sum is orthogonal to
/// the state x is amplified. Outputs of every kind are x and x_0 in some mixture, so that it is the
/// same for all.
class TangentialAmplifying final : public Guidance {
 public:
  explicit TangentialAmplifying(double scale) : scale_(scale) {}
  bool is_idle() const override { return scale_ == 1; }

  Combination finish(const GuidanceStep& step, Combination guided, const Tensor&) override {
    if (is_idle()) return guided;
    const Tensor x = step.x.to(at::kFloat);
    const Tensor share = image_dot(guided.tensor(), x) / image_dot(x, x).clamp_min(1e-60);
    const Tensor radial = share.to(at::kFloat) * x;
    return guided.scale(scale_).add(radial, 1 - scale_);
  }

 private:
  double scale_;
};

}  // namespace

GuidanceEntry tag_guidance() {
  return {.name = "tag",
          .description = "Tangential amplifying: lengthens what of a step isn't along the state",
          .paper = "2510.04533",
          .options = {{"scale", "1.15", "factor of the part across the state; 1: off"}},
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<TangentialAmplifying>(options.number("scale", 0));
          }};
}

}  // namespace tiller
