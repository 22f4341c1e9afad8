#pragma once
#include "models/autoencoder.h"
#include "training/options.h"

namespace tiller {

/// The autoencoder whose latents the network that a config describes works on; null: it works on
/// pixels. Throws UsageError where the folder that the config names isn't there.
std::shared_ptr<Autoencoder> vae_of(const TrainOptions&);

/// The side of what that network works on, pixels or latents.
int64_t network_size(const TrainOptions&);

/// The side in pixels of the images that such a network is trained on. vae: as vae_of gives it.
int64_t trained_size(const TrainOptions&, const std::shared_ptr<Autoencoder>& vae);

}  // namespace tiller
