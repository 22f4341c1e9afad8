#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace tiller {
using at::Tensor;

/// A font of strokes with round ends, drawn at any size without a font file. Sizes are in pixels
/// per unit; capitals are 12 units high, lines 20 apart.
constexpr double line_units = 20;

/// Width in units of one line of UTF-8; what the font lacks counts as a box.
double text_width(const std::string& text);

/// Draws a line onto canvas, (H, W) float32 coverage from 0 to 1, with the upper left corner of its
/// capitals at (x, y).
void draw_text(Tensor& canvas, const std::string& text, double x, double y, double pixels_per_unit);

}  // namespace tiller
