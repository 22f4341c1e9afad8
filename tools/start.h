#pragma once
#include "tools/generation.h"

namespace tiller {

/// What a batch begins with.
struct Start {
  Tensor x;           ///< (B, C, H, W): noise, or a noisy image.
  Tensor noise;       ///< The unit noise in it.
  Tensor clean;       ///< Latents of the init image; undefined: none are needed.
  Tensor mask;        ///< (1, 1, H, W), 1 where the image is to change; undefined: everywhere.
  bool soft = false;  ///< Gray parts of the mask change in the last steps alone.
};

/// Draws in the order of diffusers' pipelines: the encoder's sample of the init image, the noise,
/// then the encoder's sample of the masked image, which goes into `conditioning` for networks that
/// read it. So does the image that a network edits, of which nothing is drawn.
Start start_of(const Generation&, int64_t images, NoiseSource&, Conditioning& conditioning);

/// After each step puts the init image, as noisy as the sample, back where the mask leaves it: a
/// soft one where 1 - mask exceeds the share of the steps that are done (arXiv 2306.00950), and at
/// the end where it is 0.
Observer keeping(Start, Observer);

}  // namespace tiller
