#pragma once
/// The blocks of guided-diffusion's UNet.
#include <optional>
#include <variant>

#include "models/adm_config.h"
#include "models/layers.h"

namespace tiller::adm {

enum class Resample { none, up, down };

/// Doubles (nearest) or halves (mean) height and width.
Tensor resampled(const Tensor& x, Resample);

struct ResBlock {
  GroupNorm in_norm, out_norm;
  Conv2d in_conv, out_conv;
  Linear embedding;
  std::optional<Conv2d> skip;
  Resample resample = Resample::none;
  bool scale_shift = true;
  double dropout = 0;
  int up_index = -1;  ///< The output block that it begins; -1: lies elsewhere.
  /// x: (R, C, H, W); embedded: (R', E), after its SiLU.
  Tensor operator()(Rows&, const Tensor& x, const Tensor& embedded) const;
};
ResBlock take_res_block(Weights&, const std::string& name, const AdmConfig&, int64_t in,
                        int64_t out, Resample = Resample::none);

struct AttentionBlock {
  Site site;
  GroupNorm norm;
  Linear qkv, proj_out;
  bool new_order =
      false;  ///< Channels are q, k, v of all heads; else q, k, v of each head in turn.
  Tensor operator()(Rows&, const Tensor& x) const;
};
AttentionBlock take_attention(Weights&, const AdmConfig&, Site, int64_t channels);

/// Resampling with a convolution, where resblock_updown is off.
struct ResampleConv {
  Conv2d conv;
  Resample resample;
  Tensor operator()(Rows&, const Tensor& x) const;
};

using Block = std::variant<Conv2d, ResBlock, AttentionBlock, ResampleConv>;
/// Blocks that run one after the other: an element of input_blocks or output_blocks.
using Sequence = std::vector<Block>;
Tensor run(const Sequence&, Rows&, Tensor x, const Tensor& embedded);

}  // namespace tiller::adm
