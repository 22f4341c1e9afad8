#include "models/adm_blocks.h"

#include <ATen/ATen.h>

#include "models/joined_heads.h"
#include "models/recompute.h"
#include "models/shortcut.h"

namespace tiller::adm {

Tensor resampled(const Tensor& x, Resample resample) {
  if (resample == Resample::up)
    return at::upsample_nearest2d(x, {x.size(2) * 2, x.size(3) * 2}, 2.0, 2.0);
  return resample == Resample::down ? at::avg_pool2d(x, 2, 2) : x;
}

Tensor ResBlock::operator()(Rows& rows, const Tensor& x, const Tensor& embedded) const {
  const Unbiased first = in_conv.unbiased(rows, resampled(in_norm.silu(x), resample));
  const Tensor projected = rows.expand(embedding(rows, embedded));
  Tensor h = scale_shift ? out_norm.silu(first, projected) : out_norm.silu_of_sum(first, projected);
  if (dropout > 0 && rows.training()) h = at::dropout(h, dropout, true);
  Unbiased second = out_conv.unbiased(rows, h);
  second.x = rows.features(up_index, second.x);
  return add_to_shortcut(rows, skip, resampled(x, resample), second);
}

ResBlock take_res_block(Weights& weights, const std::string& name, const AdmConfig& config,
                        int64_t in, int64_t out, Resample resample) {
  const int64_t embedding = 4 * config.num_channels;
  ResBlock block;
  block.in_norm = take_group_norm(weights, name + ".in_layers.0", in);
  block.in_conv = take_conv(weights, name + ".in_layers.2", in, out, 3);
  block.embedding = take_linear(weights, name + ".emb_layers.1", embedding,
                                config.use_scale_shift_norm ? 2 * out : out);
  block.out_norm = take_group_norm(weights, name + ".out_layers.0", out);
  block.out_conv = take_conv(weights, name + ".out_layers.3", out, out, 3, 1, Init::zeros);
  if (in != out) block.skip = take_conv(weights, name + ".skip_connection", in, out, 1);
  block.resample = resample;
  block.scale_shift = config.use_scale_shift_norm;
  block.dropout = config.dropout;
  return block;
}

Tensor AttentionBlock::operator()(Rows& rows, const Tensor& x) const {
  const int64_t height = x.size(2), width = x.size(3), heads = site.heads;
  const Tensor tokens = rows.enter(site, to_tokens(x));
  const Tensor normed = to_tokens(norm(from_tokens(tokens, height, width)));
  const HeadOrder order = new_order ? HeadOrder{{3, heads, -1}, 0} : HeadOrder{{heads, 3, -1}, 1};
  const Tensor attended = merge_heads(rows.attention(site, normed, joined_heads(rows, qkv, order)));
  const Tensor result = rows.resume(rows.expand(tokens) + proj_out(rows, attended));
  return from_tokens(rows.leave_stack(result), height, width);
}

AttentionBlock take_attention(Weights& weights, const AdmConfig& config, Site site,
                              int64_t channels) {
  const std::string name = site.path;
  AttentionBlock block;
  block.site = std::move(site);
  block.norm = take_group_norm(weights, name + ".norm", channels);
  block.qkv =
      take_token_linear(weights, name + ".qkv", channels, 3 * channels, true, Init::uniform, 1);
  block.proj_out =
      take_token_linear(weights, name + ".proj_out", channels, channels, true, Init::zeros, 1);
  block.new_order = config.use_new_attention_order;
  return block;
}

Tensor ResampleConv::operator()(Rows& rows, const Tensor& x) const {
  return conv(rows, resample == Resample::up ? resampled(x, Resample::up) : x);
}

namespace {

Tensor run_block(const Block& block, Rows& rows, const Tensor& x, const Tensor& embedded) {
  if (const auto* res = std::get_if<ResBlock>(&block)) return (*res)(rows, x, embedded);
  if (const auto* attention = std::get_if<AttentionBlock>(&block)) return (*attention)(rows, x);
  if (const auto* resample = std::get_if<ResampleConv>(&block)) return (*resample)(rows, x);
  return std::get<Conv2d>(block)(rows, x);
}

}  // namespace

Tensor run(const Sequence& blocks, Rows& rows, Tensor x, const Tensor& embedded) {
  for (const auto& block : blocks)
    x = recomputed([&block](Rows& own, const Tensor& input,
                            const Tensor& time) { return run_block(block, own, input, time); },
                   rows, x, embedded);
  return x;
}

}  // namespace tiller::adm
