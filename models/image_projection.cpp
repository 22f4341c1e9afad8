#include "models/image_projection.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

const std::string kPrefix = "image_proj.";
constexpr int64_t kImageHeadChannels = 64;
constexpr int64_t kMaxProjectionLayers = 64, kMaxImageTokens = 4096;

[[noreturn]] void refuse_adapter(const std::string& file, const std::string& found) {
  throw Error(file + ": got " + found + ", expected an IP-Adapter, plain or Plus.");
}

/// A size of a tensor in the file. Throws Error where it isn't there or not from 1 to 2^16.
int64_t size_of(const Weights& weights, const std::string& file, const std::string& name,
                size_t dim) {
  const auto shape = weights.shape(kPrefix + name);
  if (dim >= shape.size()) refuse_adapter(file, "no " + kPrefix + name);
  if (shape[dim] < 1 || shape[dim] > 1 << 16)
    refuse_adapter(file, kPrefix + name + " of a strange shape");
  return shape[dim];
}

ResamplerLayer take_layer(Weights& weights, const std::string& name, int64_t channels,
                          int64_t inner, int64_t hidden) {
  const auto norm = [&](const char* part) {
    return take_layer_norm(weights, name + part, channels);
  };
  const auto linear = [&](const char* part, int64_t in, int64_t out) {
    return take_linear(weights, name + part, in, out, /*bias=*/false);
  };
  ResamplerLayer layer;
  layer.norm_states = norm(".0.norm1");
  layer.norm_queries = norm(".0.norm2");
  layer.q = linear(".0.to_q", channels, inner);
  layer.kv = linear(".0.to_kv", channels, 2 * inner);
  layer.out = linear(".0.to_out", inner, channels);
  layer.norm_feed = norm(".1.0");
  layer.feed_in = linear(".1.1", channels, hidden);
  layer.feed_out = linear(".1.3", hidden, channels);
  return layer;
}

}  // namespace

Tensor ResamplerLayer::operator()(const Tensor& states, const Tensor& queries) const {
  const Tensor own = norm_queries(queries);
  const auto kv_halves = kv(at::cat({norm_states(states), own}, 1)).chunk(2, -1);
  const int64_t heads = q.weight.size(0) / kImageHeadChannels;
  const Tensor attended =
      at::scaled_dot_product_attention(split_heads(q(own), heads), split_heads(kv_halves[0], heads),
                                       split_heads(kv_halves[1], heads));
  const Tensor h = queries + out(merge_heads(attended));
  return h + feed_out(at::gelu(feed_in(norm_feed(h))));
}

ImageProjection::ImageProjection(Weights& weights, const std::string& file, int64_t context)
    : context_(context) {
  const auto has = [&](const char* name) { return weights.has(kPrefix + name); };
  if (has("proj.weight"))
    take_plain(weights, context);
  else if (has("latents"))
    take_resampler(weights, file, context);
  else if (has("proj.3.weight"))
    refuse_adapter(file, "an IP-Adapter of the kind Full");
  else if (has("proj.0.weight"))
    refuse_adapter(file, "an IP-Adapter of the kind FaceID");
  else
    refuse_adapter(file, "no image_proj.proj.weight and no image_proj.latents");
}

void ImageProjection::take_plain(Weights& weights, int64_t context) {
  const auto shape = weights.shape(kPrefix + "proj.weight");
  const bool whole = shape.size() == 2 && shape[0] > 0 && shape[0] % context == 0;
  const int64_t out = whole ? shape[0] : context, in = whole ? shape[1] : 1;
  in_ = take_linear(weights, kPrefix + "proj", in, out);
  norm_ = take_layer_norm(weights, kPrefix + "norm", context);
}

void ImageProjection::take_resampler(Weights& weights, const std::string& file, int64_t context) {
  const auto size = [&](const std::string& name, size_t dim) {
    return size_of(weights, file, name, dim);
  };
  const int64_t tokens = size("latents", 1), channels = size("latents", 2);
  if (tokens > kMaxImageTokens) refuse_adapter(file, std::to_string(tokens) + " image tokens");
  queries_ = weights.take(kPrefix + "latents", {1, tokens, channels}, Init::normal);
  in_ = take_linear(weights, kPrefix + "proj_in", size("proj_in.weight", 1), channels);
  for (int64_t i = 0; i < kMaxProjectionLayers; ++i) {
    const std::string layer = "layers." + std::to_string(i);
    if (!weights.has(kPrefix + layer + ".0.to_q.weight")) break;
    const int64_t inner = size(layer + ".0.to_q.weight", 0);
    if (inner % kImageHeadChannels)
      refuse_adapter(file,
                     "attention of width " + std::to_string(inner) + " in " + kPrefix + layer);
    layers_.push_back(
        take_layer(weights, kPrefix + layer, channels, inner, size(layer + ".1.1.weight", 0)));
  }
  out_ = take_linear(weights, kPrefix + "proj_out", channels, context);
  norm_ = take_layer_norm(weights, kPrefix + "norm_out", context);
}

Tensor ImageProjection::project(const Tensor& input) const {
  const Tensor projected = in_(input.to(in_.weight.scalar_type()));
  if (!resamples()) return norm_(projected.view({input.size(0), -1, context_}));
  Tensor queries = queries_.expand({input.size(0), -1, -1});
  for (const auto& layer : layers_) queries = layer(projected, queries);
  return norm_(out_(queries));
}

Tensor ImageProjection::operator()(const ImageStates& image) const {
  return project(resamples() ? image.states : image.pooled);
}

Tensor ImageProjection::nothing(const ClipVision& encoder) const {
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(in_.weight.device());
  if (!resamples()) return project(at::zeros({1, in_channels()}, options));
  const int64_t side = encoder.image_size();
  return project(encoder.encode(at::zeros({1, 3, side, side}, options)).states);
}

}  // namespace tiller
