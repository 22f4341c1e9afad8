#include <ATen/ATen.h>

#include "guidance/cfg_form.h"

namespace tiller {
namespace {

enum class Form { paper, original, diffusers };

struct ApgOptions {
  double scale = 7.5, eta = 0, threshold = 15, momentum = -0.5;
  Form form = Form::paper;
  Space space = Space::sample;
};

/// Adaptive Projected Guidance, arXiv 2410.02416, algorithm 1: the difference D_c - D_u is averaged
/// with those of the steps before, clipped to a norm, and its part along D_c shrunk to a share eta.
class AdaptiveProjected final : public CfgForm {
 public:
  explicit AdaptiveProjected(const ApgOptions& options)
      : CfgForm(options.space, options.form == Form::paper && options.scale == 1),
        options_(options) {}

  bool remembers() const override { return options_.momentum != 0; }
  void begin_run() override { running_ = Tensor(); }

 private:
  Tensor combine(const GuidanceStep&, const Tensor& c, const Tensor& u) override {
    const Tensor projected = project(clipped(averaged(c - u)), c).to(c.scalar_type());
    switch (options_.form) {
      case Form::paper:
        return c + (options_.scale - 1) * projected;
      case Form::original:
        return c + options_.scale * projected;
      case Form::diffusers:
        return u + options_.scale * projected;
    }
    return c;
  }

  Tensor averaged(const Tensor& difference) {
    if (options_.momentum == 0) return difference;
    running_ = running_.defined() ? difference + options_.momentum * running_ : difference;
    return running_;
  }

  Tensor clipped(const Tensor& difference) const {
    if (options_.threshold == 0) return difference;
    const Tensor norm = image_dot(difference, difference).sqrt();
    return difference * (options_.threshold / norm).clamp_max(1);
  }

  Tensor project(const Tensor& difference, const Tensor& c) const {
    const Tensor share = image_dot(difference, c) / image_dot(c, c).clamp_min(1e-24);
    return difference - (1 - options_.eta) * share * c;
  }

  ApgOptions options_;
  Tensor running_;
};

std::unique_ptr<Guidance> make_apg(const Options& options, GuidanceContext) {
  ApgOptions apg;
  apg.scale = options.number("scale");
  apg.eta = options.number("eta");
  apg.threshold = options.number("norm_threshold", 0);
  apg.momentum = options.number("momentum", -0.99, 0.99);
  const std::string form = options.choice("form", {"paper", "original", "diffusers"});
  apg.form = form == "paper" ? Form::paper : form == "original" ? Form::original : Form::diffusers;
  apg.space = space_from(options);
  return std::make_unique<AdaptiveProjected>(apg);
}

}  // namespace

GuidanceEntry apg_guidance() {
  return {
      .name = "apg",
      .description = "Adaptive projected: cfg without what only saturates colours",
      .paper = "2410.02416",
      .options = {cfg_scale_option(),
                  {"eta", "0", "share kept of the part along the conditional prediction"},
                  {"norm_threshold", "15", "largest norm of the difference; 0: none"},
                  {"momentum", "-0.5", "weight of the steps before, -0.99 to 0.99"},
                  {"form", "paper", "paper: c + (s-1) d; original: c + s d; diffusers: u + s d"},
                  space_option("sample")},
      .needs_negative = true,
      .family = "cfg",
      .make = make_apg};
}

}  // namespace tiller
