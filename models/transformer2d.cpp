#include "models/transformer2d.h"

#include <ATen/ATen.h>

#include "models/geglu.h"
#include "models/ip_adapter.h"
#include "models/joined_linear.h"

namespace tiller {
namespace {

constexpr int64_t kFeedForwardFactor = 4;
constexpr double kStackNormEps = 1e-6;

/// A network of classes has no context: one token of zeros, whose value is zero, leaves the bias.
bool reads_context(const Rows& rows) {
  return rows.branch(0).conditioning->context.defined() || rows.adapter();
}

Tensor attend_to_text(Rows& rows, const CrossAttention& layer, const Tensor& tokens,
                      const Site& site) {
  const Tensor q = split_heads(layer.q(rows, tokens), layer.heads);
  const auto project = [&](const Tensor& contexts) {
    const Tensor text = contexts.to(tokens.scalar_type());
    const auto kv = apply_joined(rows, text, {&layer.k, &layer.v});
    return PromptHeads{split_heads(kv[0], layer.heads), split_heads(kv[1], layer.heads)};
  };
  Tensor attended = rows.cross_attention(site, q, project);
  if (rows.adapter()) attended = attended + attend_to_image(rows, site, q);
  return layer.out(rows, merge_heads(attended));
}

Tensor attend_to_self(Rows& rows, const CrossAttention& layer, const Tensor& tokens,
                      const Site& site) {
  const auto heads = [&](const Tensor& x) { return split_heads(x, layer.heads); };
  const SelfProjection project = {
      [&](const Tensor& own) {
        const auto qkv = apply_joined(rows, own, {&layer.q, &layer.k, &layer.v});
        return Heads{heads(qkv[0]), heads(qkv[1]), heads(qkv[2])};
      },
      [&](const Tensor& own) { return heads(layer.v(rows, own)); }};
  return layer.out(rows, merge_heads(rows.attention(site, tokens, project)));
}

CrossAttention take_attention(Weights& weights, const std::string& name, int64_t channels,
                              int64_t context, int64_t heads) {
  return {take_token_linear(weights, name + ".to_q", channels, channels, false),
          take_token_linear(weights, name + ".to_k", context, channels, false),
          take_token_linear(weights, name + ".to_v", context, channels, false),
          take_token_linear(weights, name + ".to_out.0", channels, channels), heads};
}

TransformerBlock take_block(Weights& weights, const Site& site,
                            const Transformer2DOptions& options) {
  const std::string& name = site.path;
  const int64_t c = options.channels, hidden = kFeedForwardFactor * c;
  TransformerBlock block;
  block.site = site;
  block.norm1 = take_layer_norm(weights, name + ".norm1", c);
  block.self = take_attention(weights, name + ".attn1", c, c, options.heads);
  block.norm2 = take_layer_norm(weights, name + ".norm2", c);
  block.cross =
      take_attention(weights, name + ".attn2", c, options.context_channels, options.heads);
  block.norm3 = take_layer_norm(weights, name + ".norm3", c);
  block.feed_forward.in = take_token_linear(weights, name + ".ff.net.0.proj", c, 2 * hidden);
  block.feed_forward.out = take_token_linear(weights, name + ".ff.net.2", hidden, c);
  return block;
}

}  // namespace

Tensor GatedFeedForward::operator()(Rows& rows, const Tensor& tokens) const {
  return out(rows, geglu(in(rows, tokens)));
}

Tensor TokenStream::whole() const { return term.defined() ? tokens + term : tokens; }

NormedSum TransformerBlock::read_text(Rows& rows, NormedSum own) const {
  own.sum = rows.split_contexts(site, own.sum);
  own.norm = rows.expand(own.norm);
  return layer_norm_of_sum(own.sum, attend_to_text(rows, cross, own.norm, site), norm3);
}

TokenStream TransformerBlock::operator()(Rows& rows, const TokenStream& entering) const {
  NormedSum own = layer_norm_of_sum(entering.tokens, entering.term, norm1);
  const Tensor tokens = rows.enter(site, own.sum);
  if (!tokens.is_same(own.sum)) own.norm = norm1(tokens);
  const Tensor attended = attend_to_self(rows, self, own.norm, site);
  own = reads_context(rows)
            ? read_text(rows, layer_norm_of_sum(rows.expand(tokens), attended, norm2))
            : layer_norm_of_sum(rows.expand(tokens) + attended + cross.out.bias, {}, norm3);
  return {own.sum, feed_forward(rows, own.norm)};
}

Tensor Transformer2D::operator()(Rows& rows, const Tensor& x) const {
  TokenStream stream{proj_in(rows, to_tokens(norm(x)))};
  for (const auto& block : blocks) stream = block(rows, stream);
  Tensor tokens = rows.resume(stream.whole());
  tokens = rows.leave_stack(proj_out(rows, tokens));
  return rows.expand(x) + from_tokens(tokens, x.size(2), x.size(3));
}

Transformer2D take_transformer2d(Weights& weights, const std::string& name,
                                 const std::vector<Site>& sites,
                                 const Transformer2DOptions& options) {
  const int64_t c = options.channels;
  const int kernel_dims = options.linear_projection ? 0 : 2;
  Transformer2D stack;
  stack.norm = take_group_norm(weights, name + ".norm", c, options.norm_groups, kStackNormEps);
  stack.proj_in =
      take_token_linear(weights, name + ".proj_in", c, c, true, Init::uniform, kernel_dims);
  for (const auto& site : sites) stack.blocks.push_back(take_block(weights, site, options));
  stack.proj_out =
      take_token_linear(weights, name + ".proj_out", c, c, true, Init::uniform, kernel_dims);
  return stack;
}

}  // namespace tiller
