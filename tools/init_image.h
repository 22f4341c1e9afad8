#pragma once
#include "tools/request.h"

namespace tiller {
using at::Tensor;

/// The image that a run begins with, or that its model edits.
struct InitImage {
  Tensor image;  ///< (1, 3, H, W) in [-1, 1]; undefined: there is none.
  Tensor mask;   ///< (1, 1, H, W), 1 where the image is to change, between 0 and 1 where a soft
                 ///< one is gray; undefined: everywhere.
};

/// (3, H, W) uint8 scaled to cover the size, its centre cropped: (1, 3, H', W') in float32.
Tensor covering(const Tensor& image, const ImageSize& size);

/// Reads the files of the request. A size that isn't given becomes the image's, down to multiples
/// of `multiple`; to a size that is given the image is scaled and its centre cropped. Throws
/// UsageError where image and mask differ in size.
InitImage read_init_image(const ImageRequest&, ImageSize& size, int64_t multiple);

/// The mask for latents of height x width: nearest neighbours, as diffusers takes them.
Tensor latent_mask(const Tensor& mask, int64_t height, int64_t width);
/// The same of a soft mask: means of what each latent shows.
Tensor soft_latent_mask(const Tensor& mask, int64_t height, int64_t width);

}  // namespace tiller
