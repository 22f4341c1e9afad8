#include <ATen/ATen.h>

#include "guidance/cfg_form.h"

namespace tiller {
namespace {

/// TAG for cfg, arXiv 2510.04533, equations 24 to 28: cfg plus `tangent` times D_c's part along the
/// difference's own part across the state x, brought to the difference's length if adaptive. The
/// part is the same in every space, but for its sign and unit.
class ConditionalTangent final : public CfgForm {
 public:
  ConditionalTangent(double scale, double tangent, bool adaptive)
      : CfgForm(Space::raw, scale == 1 && tangent == 0),
        scale_(scale),
        tangent_(tangent),
        adaptive_(adaptive) {}

 private:
  Tensor combine(const GuidanceStep& step, const Tensor& c, const Tensor& u) override {
    const Tensor x = step.x.to(at::kFloat), lead = c - u;
    const Tensor across = lead - along(lead, x);
    Tensor aligned = along(c, across);
    if (adaptive_) aligned = aligned * (length(lead) / length(aligned).clamp_min(1e-8));
    return u + scale_ * lead + tangent_ * aligned;
  }

  static Tensor along(const Tensor& a, const Tensor& b) {
    return (image_dot(a, b) / image_dot(b, b).clamp_min(1e-60)).to(b.scalar_type()) * b;
  }
  static Tensor length(const Tensor& a) { return image_dot(a, a).sqrt().to(a.scalar_type()); }

  double scale_, tangent_;
  bool adaptive_;
};

}  // namespace

GuidanceEntry tag_cfg_guidance() {
  return {
      .name = "tag-cfg",
      .description = "Tangential amplifying cfg: the conditional one's share of the tangent more",
      .paper = "2510.04533",
      .options = {cfg_scale_option(),
                  {"tangent", "1", "factor of the tangential term; 0: plain cfg"},
                  {"adaptive", "false", "that term as long as the difference"}},
      .needs_negative = true,
      .family = "cfg",
      .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
        return std::make_unique<ConditionalTangent>(
            options.number("scale"), options.number("tangent"), options.flag("adaptive"));
      }};
}

}  // namespace tiller
