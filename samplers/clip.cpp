#include "samplers/clip.h"

#include <ATen/ATen.h>

namespace tiller {

Denoiser clipped(Denoiser denoise, ClipMode mode, double range) {
  return [denoise = std::move(denoise), mode, range](const Tensor& x, const NoiseLevel& level) {
    Prediction p = denoise(x, level);
    p.sample = p.sample.clamp(-range, range);
    if (mode == ClipMode::recompute_epsilon) p.epsilon = (x - level.alpha * p.sample) / level.sigma;
    return p;
  };
}

}  // namespace tiller
