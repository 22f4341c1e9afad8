#include "io/resample.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tiller {
namespace {

constexpr int kBits = 22;

/// The cubic kernel with a = -0.5.
double bicubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0;
}

/// The weights as the fixed-point numbers that Pillow multiplies bytes with.
struct Window {
  int64_t first = 0;
  std::vector<int> weights;
};

std::vector<Window> windows_of(int64_t from, int64_t to) {
  std::vector<Window> windows;
  for (const auto& window : cubic_windows(from, to)) {
    windows.push_back({window.first, {}});
    for (const double weight : window.weights) {
      const double fixed = weight * (1 << kBits);
      windows.back().weights.push_back(int(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return windows;
}

/// The last dimension scaled. image: contiguous.
Tensor resample_rows(const Tensor& image, int64_t size) {
  const int64_t from = image.size(2), lines = image.size(0) * image.size(1);
  if (from == size) return image;
  const Tensor result = at::empty({image.size(0), image.size(1), size}, image.options());
  const std::vector<Window> windows = windows_of(from, size);
  for (int64_t line = 0; line < lines; ++line) {
    const auto* pixels = image.const_data_ptr<uint8_t>() + line * from;
    auto* out = result.data_ptr<uint8_t>() + line * size;
    for (int64_t i = 0; i < size; ++i) {
      int sum = 1 << (kBits - 1);
      for (size_t k = 0; k < windows[i].weights.size(); ++k)
        sum += pixels[windows[i].first + int64_t(k)] * windows[i].weights[k];
      out[i] = uint8_t(std::clamp(sum >> kBits, 0, 255));
    }
  }
  return result;
}

}  // namespace

std::vector<CubicWindow> cubic_windows(int64_t from, int64_t to) {
  const double scale = double(from) / double(to), stretch = std::max(scale, 1.0);
  const double support = 2 * stretch;
  std::vector<CubicWindow> windows(to);
  for (int64_t i = 0; i < to; ++i) {
    const double center = (double(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, int64_t(center - support + 0.5));
    const int64_t end = std::min(from, int64_t(center + support + 0.5));
    auto& weights = windows[i].weights;
    double sum = 0;
    for (int64_t x = first; x < end; ++x) {
      weights.push_back(bicubic((double(x) - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    windows[i].first = first;
    for (double& weight : weights)
      if (sum != 0) weight /= sum;
  }
  return windows;
}

Tensor resample_bicubic(const Tensor& image, int64_t height, int64_t width) {
  const auto scaled_height = [&](const Tensor& x) {
    return resample_rows(x.transpose(1, 2).contiguous(), height).transpose(1, 2).contiguous();
  };
  const int64_t fewer_rows = image.size(1) - height, fewer_columns = image.size(2) - width;
  if (fewer_rows > 0 && fewer_rows > 2 * fewer_columns)
    return resample_rows(scaled_height(image), width);
  return scaled_height(resample_rows(image.contiguous(), width));
}

}  // namespace tiller
