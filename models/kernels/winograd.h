#pragma once
/// 3x3 convolutions of float32 images, step 1 and a border of one zero, by Winograd's minimal
/// filtering F(2x2, 3x3) (Lavin and Gray, arXiv 1509.09308): each tile of 2x2 outputs takes 16
/// products a channel in place of 36. Every tile is computed alone and in one order, so an image
/// depends neither on its batch nor on how the work is shared out.
#include <cstdint>

namespace tiller::kernels {

/// Images whose channels lie beside each other: (batch, height, width, channels).
struct ConvShape {
  int64_t batch, height, width, in, out;
  int64_t across() const { return (width + 1) / 2; }
  int64_t tiles() const { return batch * ((height + 1) / 2) * across(); }
};

/// A part of the work: tiles, counted row by row through all images, and panels of outputs.
struct ConvPart {
  int64_t tile, tiles, panel, panels;
};

/// How far apart outputs, inputs and the taps of a filter lie in a weight (out, in, 3, 3).
struct FilterSteps {
  int64_t out, in, tap;
};

struct WinogradTable {
  /// Output channels of a panel.
  int64_t panel_width;
  /// Floats of a packed panel.
  int64_t (*packed)(int64_t in);
  /// One panel of a weight.
  void (*pack)(const float* weight, FilterSteps, int64_t in, int64_t out, int64_t panel,
               float* packed);
  /// Floats that `convolve` works in, from an address that is a multiple of 64.
  int64_t (*workspace)(const ConvShape&, const ConvPart&);
  /// weight: all packed panels. bias: (out), or null.
  void (*convolve)(const ConvShape&, const ConvPart&, const float* x, const float* weight,
                   const float* bias, float* y, float* workspace);
};

/// Each defined by one compilation of winograd.cpp.
const WinogradTable& winograd_baseline();
const WinogradTable& winograd_avx2();
const WinogradTable& winograd_avx512();

}  // namespace tiller::kernels
