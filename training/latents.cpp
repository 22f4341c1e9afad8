#include "training/latents.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/diffusers_folder.h"
#include "models/latent_adm.h"
#include "training/image_set.h"

namespace tiller {
namespace {

constexpr int64_t kEncodedTogether = 64;

}  // namespace

Latents::Latents(const Autoencoder& vae, const Dataset& data, const TrainOptions& options)
    : images_(data.images.size(0)) {
  const at::NoGradGuard guard;
  const auto& network = std::get<AutoencoderKL>(vae.network);
  const int64_t views = options.flip ? 2 : 1;
  Progress progress = long_progress("encoding", views * images_);
  std::vector<Tensor> latents;
  for (int64_t view = 0; view < views; ++view)
    for (const Tensor& part : data.images.split(kEncodedTogether)) {
      const Tensor images = from_bytes((view ? part.flip(3) : part).to(options.device));
      latents.push_back(scale_latents(network.encode(images).mean, network.config()));
      progress.advance(part.size(0));
    }
  latents_ = at::cat(latents);
}

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
