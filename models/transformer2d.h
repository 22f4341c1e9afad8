#pragma once
#include "models/layers.h"

namespace tiller {

/// Queries from tokens, keys and values from tokens or text.
struct CrossAttention {
  Linear q, k, v, out;
  int64_t heads = 1;
};

/// Linear, then half of the channels gated by GELU of the other half, then linear.
struct GatedFeedForward {
  Linear in, out;
  Tensor operator()(Rows&, const Tensor& tokens) const;
};

/// Tokens (R, N, C), and what is to be added to them: the norm that reads the sum does so on its
/// way.
struct TokenStream {
  Tensor tokens, term = {};  ///< Undefined: nothing.
  Tensor whole() const;
};

/// Self-attention, cross-attention to the text and a feed-forward layer, each with a norm before
/// and a residual around it.
struct TransformerBlock {
  Site site;
  LayerNorm norm1, norm2, norm3;
  CrossAttention self, cross;
  GatedFeedForward feed_forward;
  /// For the rows as they are afterwards.
  TokenStream operator()(Rows&, const TokenStream&) const;
  /// The stream behind cross-attention, from what enters it.
  NormedSum read_text(Rows&, NormedSum) const;
};

/// A stack of transformer blocks over an image's positions.
struct Transformer2D {
  GroupNorm norm;
  Linear proj_in, proj_out;
  std::vector<TransformerBlock> blocks;
  /// x: (R, C, H, W) to the same for the rows as they are afterwards.
  Tensor operator()(Rows&, const Tensor& x) const;
};

struct Transformer2DOptions {
  int64_t channels = 0;
  int64_t heads = 1;
  int64_t context_channels = 0;
  int64_t norm_groups = 32;
  bool linear_projection = false;  ///< Else the projections are stored as 1x1 convolutions.
};

/// Takes the stack `name` with one block for each site.
Transformer2D take_transformer2d(Weights&, const std::string& name, const std::vector<Site>& sites,
                                 const Transformer2DOptions&);

}  // namespace tiller
