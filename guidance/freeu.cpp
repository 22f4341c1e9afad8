#include "guidance/freeu.h"

#include <ATen/ATen.h>

#include <array>
#include <numbers>

#include "guidance/registry.h"
#include "io/error.h"

namespace tiller {
namespace {

/// The waves e^(i t) with t = 0, y, x and x + y once around each side, their real and imaginary
/// parts: (n, H * W) float32. A side of 1 has no second frequency.
Tensor lowest_waves(const Tensor& like) {
  const int64_t height = like.size(2), width = like.size(3);
  const auto around = [&](int64_t size) {
    return 2 * std::numbers::pi / double(size) *
           at::arange(size, like.options().dtype(at::kDouble));
  };
  const Tensor y = around(height).unsqueeze(1).expand({height, width});
  const Tensor x = around(width).unsqueeze(0).expand({height, width});
  std::vector<Tensor> waves = {at::ones_like(y)};
  const auto add = [&](const Tensor& angle) {
    waves.push_back(angle.cos()), waves.push_back(angle.sin());
  };
  if (height > 1) add(y);
  if (width > 1) add(x);
  if (height > 1 && width > 1) add(x + y);
  return at::stack(waves).flatten(1).to(at::kFloat);
}

struct FreeUOptions {
  std::array<double, 2> b, s;  ///< By place: b1 and b2, s1 and s2.
  bool by_mean = false, by_channels = false;
};

class Features final : public SkipFilter {
 public:
  explicit Features(const FreeUOptions& options) : options_(options) {}

  std::pair<Tensor, Tensor> operator()(const SkipPlace& place, const Tensor& x,
                                       const Tensor& skip) const override {
    const int which = index_of(place, x.size(1));
    if (which < 0) return {x, skip};
    const double b = options_.b[size_t(which)], s = options_.s[size_t(which)];
    const Tensor backbone = b == 1             ? x
                            : options_.by_mean ? amplified_by_mean(x, b)
                                               : amplified(x, b);
    return {backbone, s == 1 ? skip : damped(skip, s)};
  }

 private:
  /// 0 for b1 and s1, 1 for b2 and s2; negative: neither.
  int index_of(const SkipPlace& place, int64_t channels) const {
    if (!options_.by_channels) return place.stage < 2 ? place.stage : -1;
    return channels == 4 * place.width ? 0 : channels == 2 * place.width ? 1 : -1;
  }

  FreeUOptions options_;
};

/// FreeU, arXiv 2309.11497: what the way up gets from below is amplified, what skips bring is
/// damped where it is smooth.
class FreeU final : public Guidance {
 public:
  explicit FreeU(const FreeUOptions& options)
      : idle_(options.b == std::array{1.0, 1.0} && options.s == std::array{1.0, 1.0}),
        features_(options) {}
  bool is_idle() const override { return idle_; }
  bool is_stateless() const override { return true; }
  Alterations alterations() const override {
    return {.text = nullptr, .skips = idle_ ? nullptr : &features_};
  }

 private:
  bool idle_;
  Features features_;
};

std::unique_ptr<Guidance> make_freeu(const Options& options, GuidanceContext context) {
  if (context.model.network->up_blocks() == 0)
    throw UsageError("got a network without skips, expected a UNet.");
  FreeUOptions freeu;
  freeu.b = {options.number("b1", 0), options.number("b2", 0)};
  freeu.s = {options.number("s1", 0), options.number("s2", 0)};
  freeu.by_mean = options.choice("version", {"1", "2"}) == "2";
  freeu.by_channels = options.choice("by", {"stage", "channels"}) == "channels";
  return std::make_unique<FreeU>(freeu);
}

}  // namespace

Tensor amplified(const Tensor& x, double factor) {
  const int64_t half = x.size(1) / 2;
  return at::cat({x.narrow(1, 0, half) * factor, x.narrow(1, half, x.size(1) - half)}, 1);
}

Tensor amplified_by_mean(const Tensor& x, double factor) {
  const int64_t half = x.size(1) / 2;
  const Tensor mean = x.to(at::kFloat).mean(1, /*keepdim=*/true);
  const Tensor low = mean.amin({2, 3}, true), high = mean.amax({2, 3}, true);
  const Tensor factors = 1 + (factor - 1) * (mean - low) / (high - low).clamp_min(1e-12);
  const Tensor first = (x.narrow(1, 0, half) * factors).to(x.scalar_type());
  return at::cat({first, x.narrow(1, half, x.size(1) - half)}, 1);
}

Tensor damped(const Tensor& x, double factor) {
  const Tensor waves = lowest_waves(x);
  const Tensor wide = x.to(at::kFloat).flatten(2);
  const Tensor smooth = at::matmul(at::matmul(wide, waves.t()), waves) / double(waves.size(1));
  return (wide + (factor - 1) * smooth)
      .view(x.sizes())
      .to(x.scalar_type())
      .contiguous(x.suggest_memory_format());
}

GuidanceEntry freeu_guidance() {
  return {
      .name = "freeu",
      .description = "FreeU: more of the way up's own features, less of the skips' smooth ones",
      .paper = "2309.11497",
      .options = {{"b1", "1.3", "factor of what comes from below, at the first place"},
                  {"b2", "1.4", "the same at the second"},
                  {"s1", "0.9", "factor of the skips' low frequencies, at the first place"},
                  {"s2", "0.2", "the same at the second"},
                  {"version", "1", "1: b everywhere (diffusers); 2: b where features are large"},
                  {"by", "stage", "the places: stage (diffusers) or channels (ComfyUI)"}},
      .family = "skips",
      .make = make_freeu};
}

}  // namespace tiller
