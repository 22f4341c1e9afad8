#include "io/stroke_font.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <sstream>
#include <vector>

namespace tiller {
namespace {

struct Point {
  double x, y;
};
using Stroke = std::vector<Point>;

/// ASCII from space to tilde, then a box: strokes as points of two digits to base 17, x and y down
/// from the top of the capitals. The baseline is at 12 (c). '~' rounds a stroke's corners.
constexpr std::array<const char*, 96> glyphs = {
    "",
    "0008 0c0c",
    "0003 3033",
    "301c 705c 0484 0888",
    "~816020010546878b6c2c0b 404c",
    "0c80 ~0030340400 ~58888c5c58",
    "~8c1411305153080b2c5c87",
    "0003",
    "~3003093c",
    "~0033390c",
    "3137 0266 6206",
    "343a 0767",
    "1b0e",
    "0757",
    "0c0c",
    "0c50",
    "~00707c0c00",
    "03303c",
    "~02106072750c 0c7c",
    "~01206071755636 ~3656777b6c2c0b",
    "5c500878",
    "701006 ~062464757b6c2c0b",
    "~6150200209 ~05757c0c05",
    "00702c",
    "~1060661610 ~06767c0c06",
    "~0070770700 ~737a5c2c1b",
    "0505 0c0c",
    "1515 1c0e",
    "63076b",
    "0565 0969",
    "03670b",
    "~02105062643638 3c3c",
    "~799990000c8c ~3474793934 7479",
    "0c408c 1878",
    "000c ~005071755606 ~0656878b5c0c",
    "~827010020a1c7c8a",
    "000c ~0050828a5c0c",
    "70000c7c 0656",
    "70000c 0656",
    "~827010020a1c7c8a87 8757",
    "000c 808c 0686",
    "000c",
    "~606a4c1c0a",
    "000c 7008 357c",
    "000c6c",
    "0c0048808c",
    "0c008c80",
    "~00808c0c00",
    "000c ~006081866707",
    "~00808c0c00 598d",
    "000c ~006081866707 478c",
    "~816020010546878b6c2c0b",
    "0080 404c",
    "~00091c7c8980",
    "004c80",
    "003c537ca0",
    "008c 800c",
    "004680 464c",
    "00800c8c",
    "30000c3c",
    "005c",
    "00303c0c",
    "043064",
    "0d7d",
    "0022",
    "~04646c0c04 646c",
    "000c ~04646c0c04",
    "~655414050b1c5c6b",
    "606c ~04646c0c04",
    "0868 ~6864040c5c6b",
    "~4020121c 0444",
    "~04646c0c04 ~646e5g1g0f",
    "000c ~071454666c",
    "040c 0101",
    "~242e1g0g 2121",
    "000c 5409 275c",
    "~000b1c2c",
    "040c ~071444565c ~576494a6ac",
    "040c ~071454666c",
    "~04646c0c04",
    "040g ~04646c0c04",
    "646g ~04646c0c04",
    "040c ~07143444",
    "~655414050738696b5c1c0b",
    "~101b2c4c 0444",
    "~040a1c5c69 646c",
    "043c64",
    "042c466c84",
    "046c 640c",
    "043c 641g",
    "04640c6c",
    "~40202606 ~06262c4c",
    "000f",
    "~00202646 ~46262c0c",
    "~08254966",
    "00606c0c00",
};

double coordinate(char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; }

/// Chaikin's corner cutting, which tends to a quadratic B-spline.
Stroke round_corners(Stroke points) {
  const bool closed = points.front().x == points.back().x && points.front().y == points.back().y;
  for (int round = 0; round < 3; ++round) {
    Stroke finer;
    if (!closed) finer.push_back(points.front());
    for (size_t i = 0; i + 1 < points.size(); ++i) {
      const Point a = points[i], b = points[i + 1];
      finer.push_back({0.8 * a.x + 0.2 * b.x, 0.8 * a.y + 0.2 * b.y});
      finer.push_back({0.2 * a.x + 0.8 * b.x, 0.2 * a.y + 0.8 * b.y});
    }
    finer.push_back(closed ? finer.front() : points.back());
    points = std::move(finer);
  }
  return points;
}

std::vector<Stroke> strokes_of(size_t glyph) {
  std::vector<Stroke> strokes;
  std::istringstream words(glyphs[glyph]);
  for (std::string word; words >> word;) {
    const bool round = word[0] == '~';
    Stroke stroke;
    for (size_t i = round; i + 1 < word.size(); i += 2)
      stroke.push_back({coordinate(word[i]), coordinate(word[i + 1])});
    strokes.push_back(round ? round_corners(stroke) : stroke);
  }
  return strokes;
}

constexpr double gap_units = 3.2, space_units = 3, radius_units = 0.75;

double glyph_width(size_t glyph) {
  if (glyph == 0) return space_units;
  double width = 0;
  for (const auto& stroke : strokes_of(glyph))
    for (const auto& point : stroke) width = std::max(width, point.x);
  return width;
}

/// Glyphs of a UTF-8 text, one a code point.
std::vector<size_t> glyphs_of(const std::string& text) {
  std::vector<size_t> result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 && byte < 0xc0) continue;
    result.push_back(byte >= 32 && byte < 127 ? byte - 32u : glyphs.size() - 1);
  }
  return result;
}

double distance(Point p, Point a, Point b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  const double along = length > 0 ? ((p.x - a.x) * dx + (p.y - a.y) * dy) / length : 0;
  const double t = std::clamp(along, 0.0, 1.0);
  return std::hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

/// A line with round ends, antialiased over one pixel.
void draw_segment(Tensor& canvas, Point a, Point b, double radius) {
  auto pixels = canvas.accessor<float, 2>();
  const double reach = radius + 1;
  const auto clamped = [](double value, int64_t size) {
    return static_cast<int64_t>(std::clamp(value, 0.0, static_cast<double>(size)));
  };
  const int64_t bottom = clamped(std::max(a.y, b.y) + reach + 1, canvas.size(0));
  const int64_t right = clamped(std::max(a.x, b.x) + reach + 1, canvas.size(1));
  for (int64_t y = clamped(std::min(a.y, b.y) - reach, canvas.size(0)); y < bottom; ++y)
    for (int64_t x = clamped(std::min(a.x, b.x) - reach, canvas.size(1)); x < right; ++x) {
      const double d = distance({static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5}, a, b);
      pixels[y][x] =
          std::max(pixels[y][x], static_cast<float>(std::clamp(radius + 0.5 - d, 0., 1.)));
    }
}

}  // namespace

double text_width(const std::string& text) {
  double width = 0;
  for (const size_t glyph : glyphs_of(text)) width += glyph_width(glyph) + gap_units;
  return std::max(0.0, width - gap_units);
}

void draw_text(Tensor& canvas, const std::string& text, double x, double y,
               double pixels_per_unit) {
  for (const size_t glyph : glyphs_of(text)) {
    for (const auto& stroke : strokes_of(glyph))
      for (size_t i = 0; i + 1 < stroke.size(); ++i) {
        const auto placed = [&](Point p) {
          return Point{x + p.x * pixels_per_unit, y + p.y * pixels_per_unit};
        };
        draw_segment(canvas, placed(stroke[i]), placed(stroke[i + 1]),
                     radius_units * pixels_per_unit);
      }
    x += (glyph_width(glyph) + gap_units) * pixels_per_unit;
  }
}

}  // namespace tiller
