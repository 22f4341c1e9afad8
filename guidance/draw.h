#pragma once
#include <ATen/core/Generator.h>

#include "models/perturbation.h"

namespace tiller {

/// A CPU generator for what a guidance draws for an image at a step, so that any step can be
/// replayed alone and an image doesn't depend on its batch. stream: one for each guidance that
/// draws; TPG has 0.
at::Generator step_generator(uint64_t seed, int step, uint32_t stream);

/// Standard normal numbers of a shape for each image of a step, (B, shape...) float32.
Tensor step_noise(const StepContext&, uint32_t stream, at::IntArrayRef shape);

}  // namespace tiller
