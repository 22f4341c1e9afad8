#include "metrics/reconstruction.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace tiller {
namespace {

constexpr int64_t window_side = 11;
constexpr double window_sigma = 1.5;

/// (1, 1, 1, 11), which sums to 1.
Tensor gaussian_window() {
  const Tensor x = at::arange(window_side, at::kDouble) - double(window_side / 2);
  const Tensor weights = (-x.square() / (2 * window_sigma * window_sigma)).exp();
  return (weights / weights.sum()).view({1, 1, 1, window_side});
}

/// Windowed means of (C, H, W), where the window fits.
Tensor windowed(const Tensor& x, const Tensor& window) {
  const Tensor across = at::conv2d(x.unsqueeze(1), window);
  return at::conv2d(across, window.transpose(2, 3));
}

Tensor in_doubles(const Tensor& x) { return x.to(at::kCPU, at::kDouble); }

}  // namespace

double mean_squared_error(const Tensor& a, const Tensor& b) {
  return (in_doubles(a) - in_doubles(b)).square().mean().item<double>();
}

double max_error(const Tensor& a, const Tensor& b) {
  return (in_doubles(a) - in_doubles(b)).abs().max().item<double>();
}

bool bit_equal(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const Tensor x = a.to(at::kCPU).contiguous(), y = b.to(at::kCPU).contiguous();
  return std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

double psnr(const Tensor& a, const Tensor& b, double range) {
  const double error = mean_squared_error(a, b);
  if (error == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(range * range / error);
}

double ssim(const Tensor& a, const Tensor& b, double range) {
  if (std::min(a.size(1), a.size(2)) < window_side) return std::nan("");
  const Tensor x = in_doubles(a), y = in_doubles(b), window = gaussian_window();
  const double c1 = std::pow(0.01 * range, 2), c2 = std::pow(0.03 * range, 2);
  const Tensor mean_x = windowed(x, window), mean_y = windowed(y, window);
  const Tensor variance_x = windowed(x * x, window) - mean_x * mean_x;
  const Tensor variance_y = windowed(y * y, window) - mean_y * mean_y;
  const Tensor covariance = windowed(x * y, window) - mean_x * mean_y;
  const Tensor luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1);
  const Tensor structure = (2 * covariance + c2) / (variance_x + variance_y + c2);
  return (luminance * structure).mean().item<double>();
}

Tensor outside(const Tensor& image, const Tensor& mask) { return image * (1 - mask); }

NoiseMoments noise_moments(const Tensor& x) {
  const Tensor values = in_doubles(x);
  const double mean = values.mean().item<double>();
  const Tensor squares = (values - mean).square();
  const double variance = squares.mean().item<double>();
  return {mean, std::sqrt(variance),
          squares.square().mean().item<double>() / (variance * variance)};
}

}  // namespace tiller
