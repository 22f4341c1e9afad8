#include "guidance/nag.h"

#include <ATen/ATen.h>

#include "guidance/registry.h"
#include "io/error.h"

namespace tiller {
namespace {

struct NagOptions {
  double scale = 3, tau = 2.5, alpha = 0.5;
};

/// Every cross-attention of the positive branches sees the negative prompt too.
class NegativeContext final : public Perturbation {
 public:
  explicit NegativeContext(const NagOptions& options) : options_(options) {}
  void set_context(Tensor context) { context_ = std::move(context); }
  Kind kind() const override { return Kind::cross; }
  bool acts_at(const Site&) const override { return true; }
  Tensor context() const override { return context_; }
  Tensor blend(const Tensor& own, const Tensor& second) const override {
    return normalized_attention(own, second, options_.scale, options_.tau, options_.alpha);
  }

 private:
  NagOptions options_;
  Tensor context_;
};

/// Normalized Attention Guidance, arXiv 2505.21179.
class NormalizedAttention final : public Guidance {
 public:
  explicit NormalizedAttention(const NagOptions& options)
      : idle_(options.scale == 1 || options.alpha == 0), rule_(options) {}

  void begin_step(const GuidanceStep& step) override {
    if (!step.negative->context.defined())
      throw UsageError("guidance nag: got a negative without text, expected a prompt.");
    rule_.set_context(step.negative->context);
  }
  const Perturbation* cross(const GuidanceStep&) const override { return idle_ ? nullptr : &rule_; }

 private:
  bool idle_;
  NegativeContext rule_;
};

}  // namespace

Tensor normalized_attention(const Tensor& positive, const Tensor& negative, double scale,
                            double tau, double alpha) {
  const Tensor own = positive.to(at::kFloat);
  const Tensor guided = scale * own - (scale - 1) * negative.to(at::kFloat);
  const auto norm = [](const Tensor& z) { return z.abs().sum({1, 3}, true); };
  const Tensor ratio = norm(guided) / norm(own).clamp_min(1e-12);
  const Tensor limited = guided * (tau / ratio.clamp_min(tau));
  return (alpha * limited + (1 - alpha) * own).to(positive.scalar_type());
}

GuidanceEntry nag_guidance() {
  return {
      .name = "nag",
      .description = "Normalized attention: the negative prompt inside cross-attention",
      .paper = "2505.21179",
      .options = {{"scale", "3", "of the positive attention's lead; 1: off"},
                  {"tau", "2.5", "largest norm, in units of the positive attention's"},
                  {"alpha", "0.5", "share of the guided attention, 0 to 1"}},
      .needs_negative = true,
      .needs_text = true,
      .family = "cross-attention",
      .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
        return std::make_unique<NormalizedAttention>(NagOptions{
            options.number("scale", 1), options.number("tau", 0), options.number("alpha", 0, 1)});
      }};
}

}  // namespace tiller
