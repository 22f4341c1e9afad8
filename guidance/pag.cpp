#include <ATen/ATen.h>

#include "guidance/perturbed.h"

namespace tiller {
namespace {

/// Perturbed-Attention Guidance, arXiv 2403.17377: the attention map is the identity, so that
/// self-attention returns its values. out = v.
class IdentityAttention final : public SitePerturbation {
 public:
  using SitePerturbation::SitePerturbation;
  Kind kind() const override { return Kind::attention; }
  bool is_identity() const override { return true; }
  Tensor attention(const Site&, const Tensor&, const Tensor&, const Tensor& v) const override {
    return v;
  }
};

}  // namespace

GuidanceEntry pag_guidance() {
  return {.name = "pag",
          .description = "Perturbed attention: away from the prediction without self-attention",
          .paper = "2403.17377",
          .options = perturbed_options("3", "mid"),
          .make = [](const Options& options, GuidanceContext context) {
            return perturbed_guidance(options.number("scale"), std::make_unique<IdentityAttention>(
                                                                   std::move(context.sites)));
          }};
}

}  // namespace tiller
