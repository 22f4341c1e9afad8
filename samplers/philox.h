#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tiller {
using at::Tensor;

/// Unit normal noise by Philox4x32-10 (Salmon et al. 2011) and Box-Muller, (shape) float32: the
/// numbers of torch.randn on an NVIDIA GPU after torch.cuda.manual_seed(seed), for tensors within
/// one wave of its threads, as Automatic1111's "NV" source computes them on the CPU. draw: how many
/// calls the generator answered before.
Tensor philox_normal(uint64_t seed, uint32_t draw, at::IntArrayRef shape);

}  // namespace tiller
