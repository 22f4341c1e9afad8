#pragma once
/// What SongUNet and DhariwalUNet are made of.
#include <optional>

#include "models/edm_config.h"
#include "models/layers.h"

namespace tiller::edm {

enum class Resample { none, up, down };

/// A separable filter with which images are doubled or halved in height and width.
struct Filter {
  Tensor kernel;  ///< (1, 1, k, k), of sum 1; undefined: 2 x 2 of equal values.
  int64_t padding() const { return kernel.defined() ? (kernel.size(-1) - 1) / 2 : 0; }
  Tensor operator()(const Tensor& x, Resample) const;
  Tensor down(const Tensor& x, int64_t padding) const;
};
/// `like` says of which dtype and where.
Filter make_filter(const std::vector<double>& taps, const Tensor& like);

/// A 3 x 3 convolution that halves height and width: on the borders the two paddings are one.
struct DownConv {
  Conv2d conv;
  Filter filter;
  Tensor operator()(Rows&, const Tensor& x) const;
};
DownConv take_down_conv(Weights&, const std::string& name, const EdmConfig&, int64_t in,
                        int64_t out);

/// Self-attention over the pixels, after a residual block and named as its part.
struct Attention {
  Site site;
  GroupNorm norm;
  Linear qkv, proj;
  double scale = 1;
  Tensor operator()(Rows&, const Tensor& x) const;
};

struct Block {
  GroupNorm norm0, norm1;
  Conv2d conv0, conv1;
  Linear affine;
  std::optional<Conv2d> skip;
  std::optional<Attention> attention;
  Filter filter;
  Resample resample = Resample::none;
  bool adaptive = false;  ///< The embedding scales and shifts; else it is added.
  double scale = 1;       ///< Of a sum of two, which keeps its variance.
  int up_index = -1;      ///< Counted over the decoder; -1: lies elsewhere.
  /// x: (R, C, H, W); embedded: (R', E), after its SiLU.
  Tensor operator()(Rows&, const Tensor& x, const Tensor& embedded) const;
};

struct BlockShape {
  int64_t in, out;
  Resample resample = Resample::none;
  std::optional<Site> site = {};  ///< Attends there.
};
Block take_block(Weights&, const std::string& name, const EdmConfig&, BlockShape);

/// A block's heads: one, in DhariwalUNet one for every 64 channels, and none below.
int64_t heads_of(const EdmConfig&, int64_t channels);

/// Normalization over groups of at least 4 channels, at most 32 groups. Throws Error where the
/// channels aren't divisible.
GroupNorm take_norm(Weights&, const std::string& name, const EdmConfig&, int64_t channels);

}  // namespace tiller::edm
