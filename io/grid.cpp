#include "io/grid.h"

#include <ATen/ATen.h>

#include <cmath>
#include <sstream>

#include "io/stroke_font.h"

namespace tiller {
namespace {

constexpr int64_t smallest_cell = 96;
constexpr double ink = 0.82;  // dark grey on white

/// Breaks a label at spaces so that each line stays below `width` units where its words allow it.
std::vector<std::string> wrap(const std::string& label, double width) {
  std::vector<std::string> lines;
  std::istringstream words(label);
  for (std::string word; words >> word;) {
    if (!lines.empty() && text_width(lines.back() + " " + word) <= width)
      lines.back() += " " + word;
    else
      lines.push_back(word);
  }
  return lines;
}

/// Labels as lines, and the room that they take in units.
struct Block {
  std::vector<std::vector<std::string>> labels;
  double width = 0, height = 0;
};

Block layout(const std::vector<std::string>& labels, double width) {
  Block block;
  for (const auto& label : labels) {
    block.labels.push_back(wrap(label, width));
    for (const auto& line : block.labels.back())
      block.width = std::max(block.width, text_width(line));
    block.height =
        std::max(block.height, line_units * static_cast<double>(block.labels.back().size()));
  }
  return block;
}

/// Draws lines whose middle is at (x, y), or which end at x.
void draw_lines(Tensor& canvas, const std::vector<std::string>& lines, double x, double y,
                double scale, bool centred) {
  const double height = line_units * static_cast<double>(lines.size()) - 8;  // capitals of the last
  double top = y - scale * height / 2;
  for (const auto& line : lines) {
    const double width = scale * text_width(line);
    draw_text(canvas, line, centred ? x - width / 2 : x - width, top, scale);
    top += scale * line_units;
  }
}

Tensor enlarge(const Tensor& images) {
  const int64_t side = std::max(images.size(2), images.size(3));
  const int64_t factor = std::max<int64_t>(1, (smallest_cell + side - 1) / side);
  return images.cpu().repeat_interleave(factor, 2).repeat_interleave(factor, 3);
}

int64_t whole(double pixels) { return static_cast<int64_t>(std::ceil(pixels)); }

}  // namespace

Tensor image_grid(const Tensor& images, int64_t columns, const GridLabels& labels) {
  const Tensor cells = enlarge(images);
  const int64_t count = cells.size(0), rows = (count + columns - 1) / columns;
  const int64_t height = cells.size(2), width = cells.size(3);
  const int64_t gap = std::max<int64_t>(4, width / 24), margin = 2 * gap;
  const double scale = std::clamp(static_cast<double>(width) / 110, 0.95, 3.0);

  const Block left = layout(labels.rows, std::max(1.8 * static_cast<double>(width) / scale, 150.0));
  const Block above = layout(labels.columns, static_cast<double>(width) / scale);
  const int64_t x0 = margin + (left.width > 0 ? whole(scale * left.width) + margin : 0);
  const int64_t y0 = margin + (above.height > 0 ? whole(scale * above.height) : 0);

  Tensor canvas = at::full(
      {3, y0 + rows * (height + gap) - gap + margin, x0 + columns * (width + gap) - gap + margin},
      255, at::kByte);
  Tensor text = at::zeros({canvas.size(1), canvas.size(2)});
  const auto middle = [](int64_t start, int64_t index, int64_t size, int64_t gap) {
    return static_cast<double>(start + index * (size + gap)) + static_cast<double>(size) / 2;
  };
  for (int64_t row = 0; row < std::min<int64_t>(rows, std::ssize(left.labels)); ++row)
    draw_lines(text, left.labels[row], static_cast<double>(x0 - margin),
               middle(y0, row, height, gap), scale, /*centred=*/false);
  for (int64_t column = 0; column < std::min<int64_t>(columns, std::ssize(above.labels)); ++column)
    draw_lines(text, above.labels[column], middle(x0, column, width, gap),
               (static_cast<double>(margin) + scale * above.height) / 2 +
                   0.25 * static_cast<double>(margin),
               scale, /*centred=*/true);
  canvas.copy_((255 * (1 - ink * text)).round().to(at::kByte).expand_as(canvas));

  for (int64_t i = 0; i < count; ++i) {
    const int64_t top = y0 + i / columns * (height + gap), start = x0 + i % columns * (width + gap);
    canvas.slice(1, top, top + height).slice(2, start, start + width).copy_(cells[i]);
  }
  return canvas;
}

}  // namespace tiller
