#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tiller {
using at::Tensor;

/// The leg of a UNet that a site lies on.
enum class Part { down, mid, up };

/// A place in a network where guidance may act: a transformer block (UNet2DConditionModel) or an
/// attention block (ADM). Sites are listed in execution order.
struct Site {
  std::string path;  ///< As the checkpoint names it: "mid_block.attentions.0.transformer_blocks.0".
  Part part;
  int index;      ///< Counted within its part: d0, d1, ..., m0, ..., u0.
  int order;      ///< Counted over the whole network.
  int stack;      ///< Sites of one stack hand their tokens straight to each other.
  int downscale;  ///< Tokens lie on a grid of ceil(H / downscale) x ceil(W / downscale).
  int heads;
};

/// "d3", "m0" or "u12".
std::string short_name(const Site&);

/// The token grid at a site for inputs of the given latent height and width.
struct Grid {
  int64_t height, width;
};
Grid token_grid(const Site&, int64_t latent_height, int64_t latent_width);

/// Chooses sites by a pattern as TPG's and PAG's authors write them ("mid", "down", "up", "all",
/// "d6-23", "u0+u3", "d1-3+mid+u2") or by globs over site paths ("down_blocks.2.*").
/// Returns their `order`, ascending. Throws UsageError, listing what there is, when a part matches
/// nothing.
std::vector<int> select_sites(const std::string& pattern, const std::vector<Site>&);

/// Which sites of a network were chosen.
class SiteSet {
 public:
  explicit SiteSet(const std::vector<Site>&);
  bool holds(const Site&) const;

 private:
  std::vector<bool> chosen_;  // by Site::order
};

}  // namespace tiller
