#include <ATen/ATen.h>

#include "guidance/cfg_form.h"
#include "io/error.h"

namespace tiller {
namespace {

/// CFG-Zero*, arXiv 2503.18886: D_u is scaled to fit D_c best, a = <D_c, D_u> / |D_u|^2, then
/// a D_u + s (D_c - a D_u); zero at the first steps, which suits models that predict a velocity.
class OptimizedScale final : public CfgForm {
 public:
  OptimizedScale(double scale, int64_t zero_steps, Space space)
      : CfgForm(space, scale == 1 && zero_steps == 0), scale_(scale), zero_steps_(zero_steps) {}

 private:
  Tensor combine(const GuidanceStep& step, const Tensor& c, const Tensor& u) override {
    if (step.context.step < zero_steps_) return at::zeros_like(c);
    const Tensor fit = image_dot(c, u) / (image_dot(u, u) + 1e-8);
    const Tensor fitted = fit.to(u.scalar_type()) * u;
    return fitted + scale_ * (c - fitted);
  }

  double scale_;
  int64_t zero_steps_;
};

std::unique_ptr<Guidance> make_cfg_zero(const Options& options, GuidanceContext) {
  const int64_t zero_steps = options.integer("zero_init_steps");
  if (zero_steps < 0)
    throw UsageError("zero_init_steps: got '" + options.text("zero_init_steps") +
                     "', expected a whole number from 0 on.");
  return std::make_unique<OptimizedScale>(options.number("scale"), zero_steps, space_from(options));
}

}  // namespace

GuidanceEntry cfg_zero_guidance() {
  return {.name = "cfg-zero",
          .description = "CFG-Zero*: cfg with the unconditional prediction scaled to fit",
          .paper = "2503.18886",
          .options = {cfg_scale_option(),
                      {"zero_init_steps", "0", "first steps that predict zero (velocity models)"},
                      space_option("raw")},
          .needs_negative = true,
          .family = "cfg",
          .make = make_cfg_zero};
}

}  // namespace tiller
