#pragma once
#include <functional>

#include "models/autoencoder.h"

namespace tiller {

/// Latents whose decoding is nearer to the images: Adam on the mean squared error of the decoded
/// image, with a cosine schedule of the learning rate (arXiv 2311.18387, section 4.3). The best of
/// all steps is returned. latents: (B, C, h, w), scaled; images: (B, 3, H, W) in [-1, 1].
Tensor refine_latent(const Autoencoder&, const Tensor& latents, const Tensor& images, int steps,
                     const std::function<void()>& after_step = {});

}  // namespace tiller
