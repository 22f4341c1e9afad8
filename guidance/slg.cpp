#include <ATen/ATen.h>

#include "guidance/perturbed.h"

namespace tiller {
namespace {

/// Skip-Layer Guidance (Stable Diffusion 3.5) and Spatio-Temporal Guidance, arXiv 2411.18664:
/// the chosen blocks return their inputs.
class SkippedBlocks final : public SitePerturbation {
 public:
  using SitePerturbation::SitePerturbation;
  Kind kind() const override { return Kind::skip; }
};

}  // namespace

GuidanceEntry slg_guidance() {
  return {.name = "slg",
          .description = "Skip layers: away from the prediction without the chosen blocks",
          .paper = "2411.18664",
          .options = perturbed_options("2.8", "mid"),
          .make = [](const Options& options, GuidanceContext context) {
            return perturbed_guidance(options.number("scale"),
                                      std::make_unique<SkippedBlocks>(std::move(context.sites)));
          }};
}

}  // namespace tiller
