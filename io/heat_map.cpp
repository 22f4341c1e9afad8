#include "io/heat_map.h"

#include <ATen/ATen.h>

#include "io/stroke_font.h"

namespace tiller {
namespace {

constexpr int64_t smallest_side = 256;
/// The share of the map's colour, where it is lowest and where it is highest.
constexpr double low_share = 0.55, high_share = 0.75;

Tensor enlarged(const Tensor& image) {
  const int64_t side = std::max(image.size(1), image.size(2));
  const int64_t factor = std::max<int64_t>(1, smallest_side / side);
  return image.cpu().repeat_interleave(factor, 1).repeat_interleave(factor, 2);
}

/// (h, w) to (height, width), from 0 to 1.
Tensor stretched(const Tensor& map, int64_t height, int64_t width) {
  const Tensor large = at::upsample_bicubic2d(map.to(at::kFloat).unsqueeze(0).unsqueeze(0),
                                              {height, width}, /*align_corners=*/false)
                           .squeeze(0)
                           .squeeze(0);
  return (large - large.min()) / (large.max() - large.min() + 1e-8);
}

/// White on a dark strip.
void draw_label(Tensor& image, const std::string& label) {
  const auto height = static_cast<double>(image.size(1)),
             width = static_cast<double>(image.size(2));
  double scale = std::clamp(width / 300, 1.0, 3.0);
  scale = std::min(scale, (width - 8) / std::max(1.0, text_width(label) + 8));
  const double strip = scale * line_units;
  Tensor shade = at::zeros({image.size(1), image.size(2)});
  const auto rows = static_cast<int64_t>(strip);
  const auto columns = static_cast<int64_t>(scale * (text_width(label) + 12));
  shade.narrow(0, image.size(1) - rows, rows)
      .narrow(1, 0, std::min(columns, image.size(2)))
      .fill_(0.6);
  Tensor text = at::zeros_like(shade);
  draw_text(text, label, 6 * scale, height - strip + 4 * scale, scale);
  image = image * (1 - shade) * (1 - text) + 255 * text;
}

}  // namespace

Tensor magma(const Tensor& values) {
  static const Tensor table =
      at::tensor({0.f,   0.f,   4.f,   28.f,  16.f,  68.f,  79.f,  18.f,  123.f,
                  129.f, 37.f,  129.f, 181.f, 54.f,  122.f, 229.f, 80.f,  100.f,
                  251.f, 135.f, 97.f,  254.f, 194.f, 135.f, 252.f, 253.f, 191.f})
          .view({9, 3});
  const Tensor place = values.to(at::kFloat).clamp(0, 1) * 8;
  const Tensor below = place.floor().clamp_max(7);
  const Tensor index = below.to(at::kLong);
  const Tensor colours =
      at::lerp(table.index({index}), table.index({index + 1}), (place - below).unsqueeze(-1));
  return colours.round().to(at::kByte).movedim(-1, 0);
}

Tensor heat_overlay(const Tensor& image, const Tensor& map, const std::string& label) {
  const Tensor base = enlarged(image).to(at::kFloat);
  const Tensor heat = stretched(map.cpu(), base.size(1), base.size(2));
  const Tensor share = low_share + (high_share - low_share) * heat;
  Tensor overlay = base * (1 - share) + magma(heat).to(at::kFloat) * share;
  draw_label(overlay, label);
  return overlay.round().clamp(0, 255).to(at::kByte);
}

MapSummary summary(const Tensor& map) {
  const Tensor heat = map.to(at::kCPU, at::kDouble);
  const double least = heat.min().item<double>(), greatest = heat.max().item<double>();
  const Tensor weight = greatest > least ? heat - least : at::ones_like(heat);
  const auto centre = [&](int64_t dim) {
    const int64_t size = heat.size(dim);
    const Tensor places = (at::arange(size, at::kDouble) + 0.5) / size;
    return ((weight.sum(1 - dim) * places).sum() / weight.sum()).item<double>();
  };
  return {least, greatest, centre(1), centre(0)};
}

}  // namespace tiller
