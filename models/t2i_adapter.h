#pragma once
#include "models/weights.h"

namespace tiller {

/// Whether the folder, or the folder of the file, has the config.json of a T2IAdapter of
/// diffusers'.
bool is_t2i_adapter(const fs::path&);

/// What a T2I-Adapter (arXiv 2302.08453) makes of an image (1, 3, H, W) in [0, 1]: features (1, C,
/// h, w), one for each stage of the UNet's way down and perhaps one for its middle. Adapters of one
/// channel read the image in gray, as Pillow makes it. Throws Error naming keys of its config.json
/// that are malformed, tensors that don't fit, and images that can't be unshuffled.
std::vector<Tensor> t2i_features(const fs::path&, const Tensor& image, at::ScalarType dtype,
                                 at::Device device);

}  // namespace tiller
