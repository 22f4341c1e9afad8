#include <ATen/ATen.h>

#include "guidance/perturbed.h"
#include "guidance/ssg.h"
#include "io/error.h"

namespace tiller {
namespace {

/// For each image, target[i] = value where pairs hit i, the last pair winning; (B, N) int64.
Tensor written(const Tensor& targets, const Tensor& at_index, const Tensor& values) {
  const int64_t size = targets.size(1), pairs = at_index.size(1);
  const Tensor rank = at::arange(pairs, values.options()).unsqueeze(0) * size + values;
  const Tensor last = at::full_like(targets, -1).scatter_reduce(1, at_index, rank, "amax");
  return at::where(last >= 0, last.remainder(size), targets);
}

/// Self-Swap Guidance, arXiv 2604.08048: the least similar tokens that enter a block change places,
/// then the least similar channels.
class SwappedTokens final : public SitePerturbation {
 public:
  SwappedTokens(std::vector<Site> sites, double ratio)
      : SitePerturbation(std::move(sites)), ratio_(ratio) {}
  Kind kind() const override { return Kind::tokens; }
  Tensor tokens(const Site&, const Tensor& x) const override {
    const Tensor spatial = swapped(x, ratio_);
    return swapped(spatial.transpose(1, 2), ratio_).transpose(1, 2);
  }

 private:
  double ratio_;
};

/// SDXL and SD1.5: the authors' choices. SDXL is told by its number of blocks.
std::string ssg_layers(const std::vector<Site>& sites) {
  const auto up = std::count_if(sites.begin(), sites.end(),
                                [](const Site& site) { return site.part == Part::up; });
  return up >= 36 ? "u0-5" : "mid";
}

}  // namespace

Tensor swap_indices(const Tensor& x, int64_t count) {
  const int64_t size = x.size(1);
  const Tensor wide = x.to(at::kFloat);
  const Tensor unit = wide / wide.norm(2, {2}, true).clamp_min(1e-8);
  const Tensor similarity = at::matmul(unit, unit.transpose(1, 2));
  const Tensor once = at::ones({size, size}, similarity.options().dtype(at::kBool)).triu(1);
  const Tensor candidates = similarity.masked_fill(once.logical_not(), 3);
  const Tensor pairs = std::get<1>(candidates.flatten(1).topk(count, 1, false, true));
  const Tensor first = pairs.div(size, "floor"), second = pairs.remainder(size);
  const Tensor identity = at::arange(size, pairs.options()).expand({x.size(0), size});
  return written(written(identity, first, second), second, first);
}

Tensor swapped(const Tensor& x, double ratio) {
  const int64_t size = x.size(1);
  const int64_t count = std::min(int64_t(ratio * size), size * (size - 1) / 2);
  if (count == 0) return x;
  return x.gather(1, swap_indices(x, count).unsqueeze(2).expand(x.sizes()));
}

GuidanceEntry ssg_guidance() {
  auto options = perturbed_options("3", "");
  options.push_back({"ratio", "0.1", "pairs to swap, a share of the tokens and of the channels"});
  return {.name = "ssg",
          .description = "Self-swap: away from the prediction with unlike tokens swapped",
          .paper = "2604.08048",
          .options = options,
          .default_layers = ssg_layers,
          .make = [](const Options& options, GuidanceContext context) {
            return perturbed_guidance(options.number("scale"),
                                      std::make_unique<SwappedTokens>(
                                          std::move(context.sites), options.number("ratio", 0, 1)));
          }};
}

}  // namespace tiller
