#include "models/edm_embedding.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace tiller::edm {

/// (R, waves) in float32. SongUNet's sines come first, and its series reaches 1 / 10000.
Tensor Embedding::noise(const Tensor& t) const {
  if (!frequencies.defined()) return timestep_embedding(t, waves, !dhariwal, dhariwal ? 0 : 1);
  const Tensor angles = at::outer(t.to(at::kFloat), 2 * std::numbers::pi * frequencies);
  return at::cat({angles.sin(), angles.cos()}, 1);
}

/// Label `classes` is none of them: a row of zeros.
Tensor Embedding::labels(Rows& rows) const {
  const Tensor chosen =
      at::one_hot(rows.gather(&Conditioning::label), classes + 1).narrow(1, 0, classes);
  const double size = dhariwal ? 1 : std::sqrt(double(classes));
  return label(rows, chosen.to(label.weight.scalar_type()) * size);
}

Tensor Embedding::operator()(Rows& rows, const Tensor& t) const {
  Tensor embedded = noise(rows.roots(t)).to(layer0.weight.scalar_type());
  if (classes && !dhariwal) embedded = embedded + labels(rows);
  embedded = rows.time(layer1(rows, at::silu(layer0(rows, embedded))));
  if (classes && dhariwal) embedded = embedded + labels(rows);
  return at::silu(embedded);
}

Embedding take_embedding(Weights& weights, const EdmConfig& config) {
  const int64_t width = config.model_channels * config.channel_mult_emb;
  Embedding embedding;
  embedding.dhariwal = config.dhariwal;
  embedding.waves = config.model_channels * (config.dhariwal ? 1 : config.channel_mult_noise);
  embedding.classes = config.label_dim;
  if (config.fourier)
    embedding.frequencies =
        weights.take_float32("map_noise.freqs", {embedding.waves / 2}, Init::normal);
  if (config.label_dim && !config.dhariwal)
    embedding.label = take_linear(weights, "map_label", config.label_dim, embedding.waves);
  embedding.layer0 = take_linear(weights, "map_layer0", embedding.waves, width);
  embedding.layer1 = take_linear(weights, "map_layer1", width, width);
  if (config.label_dim && config.dhariwal)
    embedding.label = take_linear(weights, "map_label", config.label_dim, width, false);
  weights.ignore("map_augment.weight");
  return embedding;
}

}  // namespace tiller::edm
