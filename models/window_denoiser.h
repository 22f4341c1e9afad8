#pragma once
#include <span>
#include <vector>

#include "models/prediction.h"

namespace tiller {

/// A denoiser of several samples of the same images at once, each (B, C, H, W) at a level of its
/// own.
using WindowDenoiser =
    std::function<std::vector<Prediction>(std::span<const Tensor> x, std::span<const NoiseLevel>)>;

}  // namespace tiller
