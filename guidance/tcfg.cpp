#include <ATen/ATen.h>

#include "guidance/cfg_form.h"

namespace tiller {
namespace {

/// u's projection on the first right singular vector of the two rows [c; u], from their 2x2 Gram
/// matrix: v = b c + (l - a) u with its larger eigenvalue l, or (l - d) c + b u, whichever is
/// longer.
Tensor tangential(const Tensor& c, const Tensor& u) {
  const Tensor a = image_dot(c, c), b = image_dot(c, u), d = image_dot(u, u);
  const Tensor l = (a + d + ((a - d).square() + 4 * b.square()).sqrt()) / 2;
  const Tensor from_c = at::where(a > d, l - d, b), from_u = at::where(a > d, b, l - a);
  const Tensor v = from_c * c + from_u * u;
  return (image_dot(u, v) / image_dot(v, v).clamp_min(1e-60) * v).to(u.scalar_type());
}

/// Tangential Damping CFG, arXiv 2503.18137: D_t + s (D_c - D_t), with D_t what D_u has along the
/// direction that it shares with D_c.
class TangentialDamping final : public CfgForm {
 public:
  TangentialDamping(double scale, Space space) : CfgForm(space, scale == 1), scale_(scale) {}

 private:
  Tensor combine(const GuidanceStep&, const Tensor& c, const Tensor& u) override {
    const Tensor damped = tangential(c, u);
    return damped + scale_ * (c - damped);
  }

  double scale_;
};

}  // namespace

GuidanceEntry tcfg_guidance() {
  return {.name = "tcfg",
          .description = "Tangential damping: cfg with the unconditional one's own ways removed",
          .paper = "2503.18137",
          .options = {cfg_scale_option(), space_option("raw")},
          .needs_negative = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<TangentialDamping>(options.number("scale"),
                                                       space_from(options));
          }};
}

}  // namespace tiller
