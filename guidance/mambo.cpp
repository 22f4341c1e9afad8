#include <ATen/ATen.h>

#include "guidance/cfg_form.h"

namespace tiller {
namespace {

/// MAMBO-G, arXiv 2508.03442, as diffusers has it: the scale's excess over 1 falls with the length
/// of the difference in units of D_u's, 1 + (s - 1) exp(-alpha |D_c - D_u| / |D_u|).
class MagnitudeAware final : public CfgForm {
 public:
  MagnitudeAware(double scale, double alpha, Space space)
      : CfgForm(space, scale == 1), scale_(scale), alpha_(alpha) {}

 private:
  Tensor combine(const GuidanceStep&, const Tensor& c, const Tensor& u) override {
    const Tensor lead = c - u;
    const Tensor ratio = (image_dot(lead, lead) / image_dot(u, u).clamp_min(1e-60)).sqrt();
    const Tensor excess = (scale_ - 1) * (-alpha_ * ratio).exp();
    return c + excess.to(c.scalar_type()) * lead;
  }

  double scale_, alpha_;
};

}  // namespace

GuidanceEntry mambo_guidance() {
  return {.name = "mambo",
          .description = "Magnitude-aware (MAMBO-G): cfg that weakens where it would push too far",
          .paper = "2508.03442",
          .options = {cfg_scale_option("10"),
                      {"alpha", "8", "how fast the scale falls with the difference; 0: plain cfg"},
                      space_option("raw")},
          .needs_negative = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<MagnitudeAware>(
                options.number("scale"), options.number("alpha", 0), space_from(options));
          }};
}

}  // namespace tiller
