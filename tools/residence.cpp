#include "tools/residence.h"

#include "models/residency.h"

namespace tiller {
namespace {

bool staged(const Generation& generation) {
  return generation.request.low_memory && generation.model.text;
}

/// A TAESD is small, and previews need it while the UNet works: it stays on the device.
bool vae_waits(const Generation& generation) {
  return generation.model.vae && generation.model.vae != generation.taesd;
}

}  // namespace

void use_text_encoders(const Generation& generation) {
  if (!staged(generation)) return;
  for (const auto& tower : generation.model.text->towers)
    move_to(tower.parameters, generation.device);
}

void use_unet(const Generation& generation) {
  if (!staged(generation)) return;
  if (vae_waits(generation)) move_to(generation.model.vae->parameters, at::kCPU);
  if (generation.taesd) move_to(generation.taesd->parameters, generation.device);
  move_to(generation.model.parameters, generation.device);
}

void use_vae(const Generation& generation) {
  if (!staged(generation) || !generation.model.vae) return;
  if (vae_waits(generation)) move_to(generation.model.parameters, at::kCPU);
  move_to(generation.model.vae->parameters, generation.device);
}

void drop_text_encoders(const Generation& generation) {
  if (!staged(generation)) return;
  for (auto& tower : generation.model.text->towers) {
    release(tower.parameters);
    tower.extra = Tensor();
  }
}

}  // namespace tiller
