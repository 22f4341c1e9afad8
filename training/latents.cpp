#include "training/latents.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "io/file_lock.h"
#include "io/fingerprint.h"
#include "io/hash.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/diffusers_folder.h"
#include "models/latent_adm.h"
#include "training/image_set.h"

namespace tiller {
namespace {

constexpr int64_t kEncodedTogether = 64;

int64_t views_of(const TrainOptions& options) { return options.flip ? 2 : 1; }

Tensor encoded(const Autoencoder& vae, const Dataset& data, const TrainOptions& options) {
  const at::NoGradGuard guard;
  const auto& network = std::get<AutoencoderKL>(vae.network);
  const int64_t views = views_of(options), count = views * data.images.size(0);
  Progress progress = long_progress("encoding", count);
  Tensor latents;
  int64_t done = 0;
  for (int64_t view = 0; view < views; ++view)
    for (const Tensor& part : data.images.split(kEncodedTogether)) {
      const Tensor images = from_bytes((view ? part.flip(3) : part).to(options.device));
      const Tensor some = scale_latents(network.encode(images).mean, network.config());
      if (!latents.defined())
        latents = at::empty({count, some.size(1), some.size(2), some.size(3)}, some.options());
      latents.narrow(0, done, some.size(0)).copy_(some);
      done += some.size(0);
      progress.advance(part.size(0));
    }
  return latents;
}

/// Undefined: it isn't what is looked for.
Tensor read_latents(const fs::path& file, int64_t count) {
  if (!fs::exists(file)) return {};
  try {
    const TensorFile latents = load_safetensors(file);
    const auto& [name, tensor] = latents.tensors.at(0);
    const bool fits = tensor.dim() == 4 && tensor.size(0) == count;
    return fits && tensor.scalar_type() == at::kFloat ? tensor : Tensor();
  } catch (const std::exception&) {
    return {};  // made again
  }
}

Tensor kept(const Autoencoder& vae, const fs::path& folder, const Dataset& data,
            const TrainOptions& options) {
  const std::string key =
      sha256_of(fingerprint_of(options.data) + fingerprint_of(folder) + " " +
                std::to_string(data.images.size(2)) + " " + std::to_string(views_of(options)));
  const fs::path file = options.data_cache / (key.substr(0, 16) + ".latents.safetensors");
  const FileLock lock(file.string() + ".lock");
  const Tensor found = read_latents(file, views_of(options) * data.images.size(0));
  if (found.defined()) return found.to(options.device);
  const Tensor latents = encoded(vae, data, options);
  save_safetensors(file, {{"latents", latents}});
  return latents;
}

}  // namespace

Latents::Latents(const Autoencoder& vae, const fs::path& folder, const Dataset& data,
                 const TrainOptions& options)
    : latents_(options.data_cache.empty() ? encoded(vae, data, options)
                                          : kept(vae, folder, data, options)),
      images_(data.images.size(0)) {}

Tensor Latents::at(Batches& batches, int64_t step, const BatchPart& part) const {
  const Tensor views = batches.indices(step) + images_ * batches.mirrored(step);
  return latents_.index_select(0, views.narrow(0, part.first, part.count).to(latents_.device()));
}

std::shared_ptr<Autoencoder> training_vae(const fs::path& folder, at::Device device) {
  auto vae = load_vae(folder, at::kFloat, device);
  if (!std::holds_alternative<AutoencoderKL>(vae->network))
    throw UsageError(folder.string() + ": got an AutoencoderTiny, expected an AutoencoderKL.");
  return vae;
}

void copy_vae(const fs::path& from, const fs::path& to) {
  const Component vae = component_in(from);
  write_file(to / "config.json", vae.config.dump(2) + "\n");
  save_safetensors(to / "diffusion_pytorch_model.safetensors", vae.tensors, {{"format", "pt"}});
}

}  // namespace tiller
