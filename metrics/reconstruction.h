#pragma once
/// How far a reconstruction is from its original, in float64. Tensors of a call have one shape.
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

double mean_squared_error(const Tensor& a, const Tensor& b);
/// The largest difference of two values.
double max_error(const Tensor& a, const Tensor& b);
/// Whether every bit is the same; NaN equals NaN, 0 and -0 differ.
bool bit_equal(const Tensor& a, const Tensor& b);

/// Peak signal to noise ratio, 10 log10(range^2 / MSE), in dB; infinite for equal images. range:
/// greatest value less the least that an image may have.
double psnr(const Tensor& a, const Tensor& b, double range);

/// Structural similarity (Wang et al. 2004) of (C, H, W), K1 = 0.01, K2 = 0.03, in a Gaussian
/// window of 11 x 11 with sigma 1.5 that stays inside the image, averaged over positions and
/// channels. Equals scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5,
/// use_sample_covariance=False) and torchmetrics before it began to count reflected borders. NaN
/// where a side is below 11.
double ssim(const Tensor& a, const Tensor& b, double range);

/// An image (C, H, W) with what `mask` (H, W) covers made black: image * (1 - mask). So PIE-Bench
/// takes all its measures outside of an edit, black pixels and all.
Tensor outside(const Tensor& image, const Tensor& mask);

/// How far a noise latent is from noise, whose std is 1 and whose kurtosis is 3.
struct NoiseMoments {
  double mean, std;  ///< Of the population (divided by N).
  double kurtosis;   ///< E (x - mean)^4 / std^4.
};
NoiseMoments noise_moments(const Tensor& x);

}  // namespace tiller
