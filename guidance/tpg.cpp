#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <map>

#include "guidance/perturbed.h"
#include "guidance/refill.h"

namespace tiller {
namespace {

/// Token Perturbation Guidance, arXiv 2506.10036: x'_i = x_{pi(i)} for the tokens that enter each
/// chosen block, residual stream included, and nothing puts them back. pi is uniform, another one
/// for each block, step and image.
class TokenShuffle final : public SitePerturbation {
 public:
  using SitePerturbation::SitePerturbation;
  Kind kind() const override { return Kind::permutation; }
  Tensor permutation(const Site& site) const override { return permutations_.at(site.order); }

  /// One stream of numbers an image, one permutation a site in execution order, so that any step
  /// can be replayed alone and an image doesn't depend on its batch.
  void begin_step(const StepContext& step) override {
    std::map<int, std::vector<Tensor>> drawn;
    for (const uint64_t seed : step.seeds) {
      auto generator = at::detail::createCPUGenerator(seed * 1000003 + step.step);
      for (const Site& site : sites()) {
        const Grid grid = token_grid(site, step.height, step.width);
        drawn[site.order].push_back(
            at::randperm(grid.height * grid.width, generator, at::TensorOptions(at::kLong)));
      }
    }
    std::vector<Tensor> flat;
    for (const auto& [order, images] : drawn) flat.push_back(at::stack(images).flatten());
    const Tensor fresh = at::cat(flat);
    Tensor& all = buffers_[fresh.numel()];
    refill(all, fresh, step.device);
    take_apart(all, drawn);
  }

 private:
  /// permutations_ as views of all, where the sites' stand one after the other.
  void take_apart(const Tensor& all, const std::map<int, std::vector<Tensor>>& drawn) {
    int64_t first = 0;
    for (const auto& [order, images] : drawn) {
      const auto count = int64_t(images.size()), tokens = images.front().numel();
      permutations_[order] = all.narrow(0, first, count * tokens).view({count, tokens});
      first += count * tokens;
    }
  }

  std::map<int64_t, Tensor> buffers_;  ///< By size: each keeps its place for recordings.
  std::map<int, Tensor> permutations_;
};

/// SDXL: the authors' choice. Other networks: our own, the same place, which is where the down
/// path's attention has the fewest tokens (SD1.5: d4-5).
std::string tpg_layers(const std::vector<Site>& sites) {
  std::vector<Site> down;
  for (const Site& site : sites)
    if (site.part == Part::down) down.push_back(site);
  const bool transformer =
      !sites.empty() && sites[0].path.find("transformer_blocks") != std::string::npos;
  if (transformer && down.size() >= 24) return "d6-23";
  if (down.empty()) return "down";
  const auto coarser = [](const Site& a, const Site& b) { return a.downscale < b.downscale; };
  const int coarsest = std::max_element(down.begin(), down.end(), coarser)->downscale;
  const auto first = std::find_if(down.begin(), down.end(),
                                  [&](const Site& site) { return site.downscale == coarsest; });
  return short_name(*first) + "-" + std::to_string(down.back().index);
}

}  // namespace

GuidanceEntry tpg_guidance() {
  return {.name = "tpg",
          .description = "Token perturbation: away from the prediction with shuffled tokens",
          .paper = "2506.10036",
          .options = perturbed_options("3", ""),
          .default_layers = tpg_layers,
          .make = [](const Options& options, GuidanceContext context) {
            return perturbed_guidance(options.number("scale"),
                                      std::make_unique<TokenShuffle>(std::move(context.sites)));
          }};
}

}  // namespace tiller
