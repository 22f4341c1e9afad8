#pragma once
#include "tools/generation.h"

namespace tiller {

/// Bytes that decoding so many images takes, about; 0: little.
double decoding_memory(const Generation&, double images);

/// Whether batches of so many images are decoded while the next one is sampled: on a GPU that has
/// the memory for both. On a CPU both would share the same cores.
bool decodes_beside(const Generation&, int64_t images);

/// What samples look like, decoded where the model has a VAE: (B, 3, H, W) uint8 on the CPU.
Tensor to_pixels(const Generation&, const Tensor& samples);

}  // namespace tiller
