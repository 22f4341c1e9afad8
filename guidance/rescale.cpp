#include <ATen/ATen.h>

#include "guidance/registry.h"

namespace tiller {
namespace {

/// Over each image's channels and pixels, with n - 1: (B, 1, 1, 1).
Tensor image_std(const Tensor& x) {
  return x.flatten(1).std(1, /*unbiased=*/true).reshape({-1, 1, 1, 1});
}

/// Guidance rescale, arXiv 2305.08891, equations 15 and 16: the guided output D gets the standard
/// deviation of D_c back: phi D std(D_c) / std(D) + (1 - phi) D.
class Rescale final : public Guidance {
 public:
  explicit Rescale(double phi) : phi_(phi) {}

  std::vector<Request> requests(const GuidanceStep&, std::span<const Tensor>) override {
    return {};
  }
  Combination delta(const GuidanceStep&, std::span<const Tensor>) override { return {}; }

  Combination finish(const GuidanceStep&, Combination guided, const Tensor& conditional) override {
    const Tensor ratio = image_std(conditional) / image_std(guided.tensor()).clamp_min(1e-12);
    return guided.tensor() * (phi_ * ratio + (1 - phi_));
  }

 private:
  double phi_;
};

}  // namespace

GuidanceEntry rescale_guidance() {
  return {.name = "rescale",
          .description = "Gives the sum of the others the conditional prediction's contrast back",
          .paper = "2305.08891",
          .options = {{"phi", "0.7", "share of the rescaled prediction, 0 to 1"}},
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<Rescale>(options.number("phi", 0, 1));
          }};
}

}  // namespace tiller
