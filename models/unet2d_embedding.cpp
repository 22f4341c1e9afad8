#include "models/unet2d_embedding.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

UNet2DEmbedding take_embedding(Weights& weights, const std::string& name, int64_t in, int64_t out) {
  return {take_linear(weights, name + ".linear_1", in, out),
          take_linear(weights, name + ".linear_2", out, out)};
}

}  // namespace

void expect_unet2d_size(const Tensor& x, int64_t dim, int64_t expected, const std::string& what) {
  if (!x.defined()) throw Error("UNet2DConditionModel: got no " + what + ", expected one.");
  if (x.size(dim) != expected)
    throw Error("UNet2DConditionModel: got a " + what + " of width " + std::to_string(x.size(dim)) +
                ", expected " + std::to_string(expected) + ".");
}

Tensor UNet2DEmbedding::operator()(Rows& rows, const Tensor& x) const {
  return second(rows, at::silu(first(rows, x)));
}

UNet2DTime take_unet2d_time(Weights& weights, const UNet2DConfig& config) {
  UNet2DTime time;
  time.frequencies = config.down.front().channels;
  time.guidance_channels = config.guidance_channels;
  time.time_id_channels = config.time_id_channels;
  time.added_channels = config.added_channels;
  time.sin_first = config.sin_first;
  time.frequency_shift = config.frequency_shift;
  time.time = take_embedding(weights, "time_embedding", time.frequencies, config.time_channels);
  if (config.guidance_channels)
    time.guidance = take_linear(weights, "time_embedding.cond_proj", config.guidance_channels,
                                time.frequencies, false);
  if (config.class_embeddings)
    time.classes = weights.take("class_embedding.weight",
                                {config.class_embeddings, config.time_channels}, Init::normal);
  if (config.added_channels)
    time.added =
        take_embedding(weights, "add_embedding", config.added_channels, config.time_channels);
  return time;
}

Tensor UNet2DTime::embed_class(Rows& rows) const {
  const Tensor label = rows.gather(&Conditioning::label);
  if (!label.defined()) throw Error("UNet2DConditionModel: got no label, expected a class.");
  return at::embedding(classes, label);
}

Tensor UNet2DTime::embed_added(Rows& rows) const {
  const Tensor pooled = rows.gather(&Conditioning::pooled);
  const Tensor ids = rows.gather(&Conditioning::time_ids);
  if (!ids.defined()) throw Error("UNet2DConditionModel: got no time_ids, expected some.");
  expect_unet2d_size(pooled, 1, added_channels - ids.size(1) * time_id_channels,
                     "pooled text state");
  const Tensor embedded =
      timestep_embedding(ids.flatten(), time_id_channels, sin_first, frequency_shift);
  const at::ScalarType dtype = time.first.weight.scalar_type();
  return added(rows, at::cat({pooled.to(dtype), embedded.view({ids.size(0), -1}).to(dtype)}, 1));
}

Tensor UNet2DTime::operator()(const Tensor& t, Rows& rows) const {
  const at::ScalarType dtype = time.first.weight.scalar_type();
  Tensor features =
      timestep_embedding(rows.roots(t), frequencies, sin_first, frequency_shift).to(dtype);
  const Tensor scale = rows.gather(&Conditioning::guidance);
  if (scale.defined()) {
    expect_unet2d_size(scale, 1, guidance_channels, "guidance embedding");
    features = features + guidance(rows, scale.to(dtype));
  }
  Tensor embedding = rows.time(time(rows, features));
  if (classes.defined()) embedding = embedding + embed_class(rows);
  return at::silu(added_channels ? embedding + embed_added(rows) : embedding);
}

}  // namespace tiller
