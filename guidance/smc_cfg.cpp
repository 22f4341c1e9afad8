#include <ATen/ATen.h>

#include "guidance/cfg_form.h"

namespace tiller {
namespace {

struct SlidingOptions {
  double scale = 7.5, lambda = 5, k = 0.2;
  bool by_norm = false;
  Space space = Space::raw;
};

/// SMC-CFG, arXiv 2603.03281, algorithm 1: e = D_c - D_u loses k sign((e - e') + lambda e'), with
/// e' what was left of it at the step before, and e itself at the first.
class SlidingMode final : public CfgForm {
 public:
  explicit SlidingMode(const SlidingOptions& options)
      : CfgForm(options.space, options.scale == 1 && options.k == 0), options_(options) {}

  bool remembers() const override { return options_.k != 0; }
  void begin_run() override { before_ = Tensor(); }

 private:
  Tensor combine(const GuidanceStep&, const Tensor& c, const Tensor& u) override {
    const Tensor lead = c - u, before = before_.defined() ? before_ : lead;
    const Tensor surface = lead + (options_.lambda - 1) * before;
    const Tensor left = lead - options_.k * direction(surface);
    before_ = options_.by_norm ? lead : left;
    return u + options_.scale * left;
  }

  /// Of each number, or of the whole image.
  Tensor direction(const Tensor& surface) const {
    if (!options_.by_norm) return surface.sign();
    return surface / image_dot(surface, surface).sqrt().clamp_min(1e-30).to(surface.scalar_type());
  }

  SlidingOptions options_;
  Tensor before_;
};

}  // namespace

GuidanceEntry smc_cfg_guidance() {
  return {.name = "smc-cfg",
          .description = "Sliding mode control (SMC-CFG): cfg with its difference held back",
          .paper = "2603.03281",
          .options = {cfg_scale_option(),
                      {"lambda", "5", "weight of the difference at the step before"},
                      {"k", "0.2", "what each number loses; 0: plain cfg"},
                      {"form", "sign", "sign: the authors'; norm: an image loses a length of k"},
                      space_option("raw")},
          .needs_negative = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<SlidingMode>(SlidingOptions{
                options.number("scale"), options.number("lambda", 0), options.number("k", 0),
                options.choice("form", {"sign", "norm"}) == "norm", space_from(options)});
          }};
}

}  // namespace tiller
