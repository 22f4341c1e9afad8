#pragma once
#include "io/tensor_file.h"
#include "models/autoencoder_kl.h"

namespace tiller {

/// Weight of the KL divergence, as latent diffusion has it (arXiv 2112.10752).
constexpr double kl_weight = 1e-6;

/// L1 of pixels and of their differences to the right and below, which keeps edges sharp where a
/// discriminator is too much. Both (B, 3, H, W); each image's mean, (B).
Tensor reconstruction_losses(const Tensor& decoded, const Tensor& images);

/// From N(0, I), summed over an image's latent, (B).
Tensor kl_divergences(const LatentDistribution&);

/// Changes an AutoencoderKL's quant_conv and post_quant_conv so that it codes the same, but with
/// latents of mean 0 and standard deviation 1 in each channel where they were `latents` (N, C, h,
/// w). So pure noise is as far from any image in all channels, whatever loads the model.
void normalise_latents(NamedTensors& parameters, const Tensor& latents);

}  // namespace tiller
