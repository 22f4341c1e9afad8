/// Decoding of a latent, or encoding of a text, whenever it is this side's turn (turns.h).
///
/// usage: bench_parts vae|text FOLDER DTYPE DEVICE BATCH [PIXELS]
/// FOLDER is diffusers' AutoencoderKL or transformers' CLIPTextModel.
#include <ATen/ATen.h>

#include <array>

#include "benchmarks/turns.h"
#include "io/json.h"
#include "models/autoencoder_file.h"
#include "models/clip_text.h"
#include "models/text_to_image.h"

namespace tiller {
namespace {

constexpr std::array<double, 0> kNothing = {};

void decode(const fs::path& folder, at::ScalarType dtype, at::Device device, int64_t batch,
            int64_t pixels) {
  const Autoencoder vae = autoencoder_from(autoencoder_component(folder), dtype, device);
  const int64_t side = pixels / vae.downscale();
  const Tensor latents = at::randn({batch, vae.channels(), side, side}).to(device);
  take_turns(device, [&] {
    decode_latents(vae, latents);
    return kNothing;
  });
}

void encode(const fs::path& folder, at::ScalarType dtype, at::Device device, int64_t batch) {
  const fs::path file = folder / "model.safetensors";
  Weights weights(load_tensors(file), file.string(), dtype, device);
  weights.ignore("text_model.embeddings.position_ids");
  const ClipText text(read_json_object(folder / "config.json"), weights);
  const NamedTensors parameters = weights.finish();
  const Tensor ids = at::randint(text.config().vocabulary, {batch, text.config().positions});
  const Tensor tokens = ids.to(at::kLong).to(device);
  take_turns(device, [&] {
    text.encode(tokens);
    return kNothing;
  });
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  if (count < 6) {
    std::fputs("usage: bench_parts vae|text FOLDER DTYPE DEVICE BATCH [PIXELS]\n", stderr);
    return 2;
  }
  const auto dtype = tiller::dtype_named(arguments[3]);
  const auto device = tiller::measured_device(arguments[4]);
  const int64_t batch = std::stoll(arguments[5]);
  if (std::string(arguments[1]) == "vae")
    tiller::decode(arguments[2], dtype, device, batch, count > 6 ? std::stoll(arguments[6]) : 512);
  else
    tiller::encode(arguments[2], dtype, device, batch);
}
