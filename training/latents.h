#pragma once
#include "models/autoencoder.h"
#include "training/batches.h"

namespace tiller {

/// A VAE's latents of all images, encoded once and held where they are trained on: the mean of each
/// image's distribution, as with a weak KL divergence there is little else.
class Latents {
 public:
  Latents() = default;
  /// The VAE must be an AutoencoderKL, from `folder`. With a data cache they are kept there, for
  /// other processes and later runs.
  Latents(const Autoencoder&, const fs::path& folder, const Dataset&, const TrainOptions&);
  /// The part's, (count, C, h, w), some of them of mirrored images.
  Tensor at(Batches&, int64_t step, const BatchPart&) const;

 private:
  Tensor latents_;  ///< (N, C, h, w), then the same of mirrored images.
  int64_t images_ = 0;
};

/// The autoencoder to train on. Throws UsageError where it is no AutoencoderKL.
std::shared_ptr<Autoencoder> training_vae(const fs::path& folder, at::Device);

/// Writes a copy of a VAE's folder.
void copy_vae(const fs::path& from, const fs::path& to);

}  // namespace tiller
