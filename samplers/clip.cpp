#include "samplers/clip.h"

#include <ATen/ATen.h>

namespace tiller {

Denoiser clipped(Denoiser denoise, ClipMode mode, double range) {
  return [denoise = std::move(denoise), mode, range](const Tensor& x, const NoiseLevel& level) {
    Prediction p = denoise(x, level);
    p.sample = p.sample.tensor().clamp(-range, range);
    if (mode == ClipMode::recompute_epsilon) p.epsilon = (x - level.alpha * p.sample) / level.sigma;
    return p;
  };
}

Denoiser thresholded(Denoiser denoise, const Threshold& threshold) {
  return [denoise = std::move(denoise), threshold](const Tensor& x, const NoiseLevel& level) {
    Prediction p = denoise(x, level);
    const Tensor magnitude = p.sample.tensor().abs().flatten(1);
    const Tensor bound = magnitude.quantile(threshold.ratio, 1, true)
                             .clamp_min(1)
                             .clamp_max(threshold.max_value)
                             .view({-1, 1, 1, 1});
    p.sample = p.sample.tensor().clamp(-bound, bound) / bound;
    return p;
  };
}

Tensor reflect(const Tensor& x, double range) {
  const Tensor turn = (x + range).remainder(4 * range);
  return at::minimum(turn, 4 * range - turn) - range;
}

Denoiser reflected(Denoiser denoise, double range) {
  return [denoise = std::move(denoise), range](const Tensor& x, const NoiseLevel& level) {
    Prediction p = denoise(x, level);
    p.sample = reflect(p.sample, range);
    return p;
  };
}

Denoiser limited(Denoiser denoise, const Options& options) {
  const auto on = [&](const char* name) { return options.has(name) && options.flag(name); };
  if (on("thresholding"))
    return thresholded(std::move(denoise), {options.number("dynamic_thresholding_ratio", 0, 1),
                                            options.number("sample_max_value", 1e-6)});
  if (on("reflect_sample"))
    return reflected(std::move(denoise), options.number("clip_sample_range", 1e-6));
  if (on("clip_sample"))
    return clipped(std::move(denoise), ClipMode::sample_only,
                   options.number("clip_sample_range", 1e-6));
  return denoise;
}

}  // namespace tiller
