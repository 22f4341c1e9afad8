#pragma once
#include "models/autoencoder.h"
#include "training/dataset.h"
#include "training/options.h"

namespace tiller {

/// The run's images, (N, 3, size, size), on the CPU or, with a data cache, mapped. Throws Error.
Dataset decoded_data(const TrainOptions&, int64_t size);

/// The same where they are trained on. The first process says on standard error what was left out
/// and which classes have no image. Throws UsageError on pairs, Error on a label of a million or
/// more.
Dataset load_training_data(const TrainOptions&, int64_t size);

/// What a diffusion model is trained on: the same of the size that its network wants, by way of the
/// VAE where there is one, or pairs of what the network works on, pixels or latents. Throws
/// UsageError where pairs haven't its size and channels.
Dataset load_diffusion_data(const TrainOptions&, const std::shared_ptr<Autoencoder>& vae,
                            int64_t channels);

/// Whether the VAE has yet to encode the data: images, not pairs of latents.
bool encodes(const std::shared_ptr<Autoencoder>& vae, const Dataset&);

/// The lines that it says: a few images by name, the others' number, and classes without images.
std::vector<std::string> complaints_of(const Dataset&);

}  // namespace tiller
