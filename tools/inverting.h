#pragma once
#include "tools/denoising.h"

namespace tiller {

/// How a batch is inverted.
struct InvertOptions {
  int until = 0;  ///< Index of the trajectory's level to stop at; 0: pure noise.
  Verify verify = Verify::first;
  /// Changes what the networks are given; empty: nothing.
  std::function<void(GuidedBatch&)> arrange = {};
};

/// Throws UsageError when the sampler has no inverse, or where a guidance, a mask or an init image
/// leaves none.
void require_invertible(const Generation&, std::span<const ChosenGuidance>);

/// Throw UsageError where so many steps leave the sampler's range of numbers, up from an image or
/// down from noise.
void require_ascent(const Generation&, int steps);
void require_descent(const Generation&, int steps);

/// Latents of (B, 3, H, W) uint8 pixels, float32 on the device: the VAE's mean, or the pixels
/// themselves in [-1, 1], for one channel their mean over RGB.
Tensor latents_of(const Generation&, const Tensor& pixels);

/// From a state at the image (level N) towards noise. One ImageSpec a row.
InversionState invert_latents(const Generation&, std::span<ChosenGuidance>,
                              std::span<const ImageSpec>, InversionState, const InvertOptions&,
                              GuidanceCost&, const Observer& = {});

/// Back to the image. `options.until` has no meaning.
InversionState regenerate_latents(const Generation&, std::span<ChosenGuidance>,
                                  std::span<const ImageSpec>, InversionState, const InvertOptions&,
                                  GuidanceCost&, const Observer& = {});

/// A noise latent as the trajectory's first level has it, in units of what that level makes of
/// noise: float64 on the CPU.
Tensor unit_noise(const Generation&, const Tensor& noise);

InversionState on_device(InversionState, at::Device);
/// Rows first, ..., first + count - 1 of a state, and states one after the other.
InversionState rows_of(const InversionState&, int64_t first, int64_t count);
InversionState joined(std::vector<InversionState>);
/// The state as what is drawn instead of the image begins with: without a record that leads back to
/// the very image.
InversionState for_another(const Generation&, InversionState);
/// Latents in the numbers that the state has: on its lattice, or in its precision.
Tensor as_stored(const Tensor& latents, const InversionState&);

}  // namespace tiller
