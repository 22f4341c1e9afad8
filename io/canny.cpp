#include "io/canny.h"

#include <ATen/ATen.h>

#include <vector>

namespace tiller {
namespace {

enum Mark : uint8_t { none, weak, strong };

struct Gradient {
  int dx = 0, dy = 0;
  int size() const { return std::abs(dx) + std::abs(dy); }
};

/// One pixel more on each side, where there is no gradient.
struct Gradients {
  int64_t height, width;
  std::vector<Gradient> values;
  Gradients(int64_t h, int64_t w) : height(h), width(w), values((h + 2) * (w + 2)) {}
  Gradient& at(int64_t y, int64_t x) { return values[(y + 1) * (width + 2) + x + 1]; }
  const Gradient& at(int64_t y, int64_t x) const { return values[(y + 1) * (width + 2) + x + 1]; }
};

/// Of one channel at a pixel, with the image's edge repeated.
Gradient sobel(const uint8_t* pixels, int64_t height, int64_t width, int64_t y, int64_t x) {
  const int64_t rows[] = {std::max<int64_t>(y - 1, 0), y, std::min(y + 1, height - 1)};
  const int64_t columns[] = {std::max<int64_t>(x - 1, 0), x, std::min(x + 1, width - 1)};
  const auto p = [&](int row, int column) {
    return int(pixels[rows[row] * width + columns[column]]);
  };
  return {p(0, 2) - p(0, 0) + 2 * (p(1, 2) - p(1, 0)) + p(2, 2) - p(2, 0),
          p(2, 0) - p(0, 0) + 2 * (p(2, 1) - p(0, 1)) + p(2, 2) - p(0, 2)};
}

Gradients gradients_of(const Tensor& image) {
  const Tensor planes = image.contiguous();
  Gradients gradients(image.size(1), image.size(2));
  for (int64_t c = 0; c < image.size(0); ++c) {
    const auto* pixels = planes.const_data_ptr<uint8_t>() + c * gradients.height * gradients.width;
    for (int64_t y = 0; y < gradients.height; ++y)
      for (int64_t x = 0; x < gradients.width; ++x) {
        const Gradient own = sobel(pixels, gradients.height, gradients.width, y, x);
        Gradient& best = gradients.at(y, x);
        if (c == 0 || own.size() > best.size()) best = own;
      }
  }
  return gradients;
}

/// Whether no neighbour across the edge is steeper. The directions are told apart at 22.5 and 67.5
/// degrees in fixed point, and ties go to the later pixel, as in OpenCV.
bool is_ridge(const Gradients& gradients, int64_t y, int64_t x) {
  constexpr int64_t shift = 15, tangent = 13573;  // tan(22.5 degrees) * 2^15
  const Gradient& own = gradients.at(y, x);
  const int m = own.size();
  const auto size = [&](int64_t dy, int64_t dx) { return gradients.at(y + dy, x + dx).size(); };
  const int64_t run = std::abs(own.dx), rise = int64_t{std::abs(own.dy)} << shift;
  if (rise < run * tangent) return m > size(0, -1) && m >= size(0, 1);
  if (rise > run * tangent + (run << (shift + 1))) return m > size(-1, 0) && m >= size(1, 0);
  const int64_t s = (own.dx ^ own.dy) < 0 ? -1 : 1;
  return m > size(-1, -s) && m > size(1, s);
}

/// Weak pixels that touch a strong one, directly or through others, become strong.
void grow(std::vector<Mark>& marks, int64_t height, int64_t width) {
  std::vector<int64_t> open;
  for (size_t i = 0; i < marks.size(); ++i)
    if (marks[i] == strong) open.push_back(int64_t(i));
  while (!open.empty()) {
    const int64_t y = open.back() / width, x = open.back() % width;
    open.pop_back();
    for (int64_t v = std::max<int64_t>(y - 1, 0); v <= std::min(y + 1, height - 1); ++v)
      for (int64_t u = std::max<int64_t>(x - 1, 0); u <= std::min(x + 1, width - 1); ++u)
        if (Mark& mark = marks[v * width + u]; mark == weak) {
          mark = strong;
          open.push_back(v * width + u);
        }
  }
}

}  // namespace

Tensor canny(const Tensor& image, const CannyThresholds& thresholds) {
  const Gradients gradients = gradients_of(image);
  const int64_t height = gradients.height, width = gradients.width;
  std::vector<Mark> marks(height * width, none);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const int m = gradients.at(y, x).size();
      if (m > thresholds.low && is_ridge(gradients, y, x))
        marks[y * width + x] = m > thresholds.high ? strong : weak;
    }
  grow(marks, height, width);
  const Tensor edges = at::empty({height, width}, at::TensorOptions(at::kByte));
  for (size_t i = 0; i < marks.size(); ++i)
    edges.data_ptr<uint8_t>()[i] = marks[i] == strong ? 255 : 0;
  return edges.expand({3, -1, -1}).contiguous();
}

}  // namespace tiller
