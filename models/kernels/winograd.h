#pragma once
/// 3x3 convolutions, step 1 and a border of one zero, by Winograd's minimal filtering F(2x2, 3x3)
/// (Lavin and Gray, arXiv 1509.09308): each tile of 2x2 outputs takes 16 products a channel in
/// place of 36. In float32 whatever images are in. Every tile is computed alone and in one order,
/// so an image depends neither on its batch nor on how the work is shared out.
#include "models/kernels/bfloat16.h"

namespace tiller::kernels {

/// Of images (batch, height, width, channels) and a weight (out, 3, 3, in).
struct ConvShape {
  int64_t batch, height, width, in, out;
};

/// A part of the work: tiles, counted row by row through all images, and panels of outputs.
struct ConvPart {
  int64_t tile, tiles, panel, panels;
};

/// For weights, biases and images of float or BFloat16Bits.
template <class T>
struct WinogradKernels {
  /// One panel of a weight.
  void (*pack)(const T* weight, int64_t in, int64_t out, int64_t panel, float* packed);
  /// weight: all packed panels. bias: (out), or null.
  void (*convolve)(const ConvShape&, const ConvPart&, const T* x, const float* weight,
                   const T* bias, T* y, float* workspace);
};

struct WinogradTable {
  /// Output channels of a panel.
  int64_t panel_width;
  /// Floats of a packed panel.
  int64_t (*packed)(int64_t in);
  /// Floats that `convolve` works in.
  int64_t (*workspace)(const ConvShape&, const ConvPart&);
  WinogradKernels<float> float32;
  WinogradKernels<BFloat16Bits> bfloat16;
};

/// Each defined by one compilation of winograd.cpp.
const WinogradTable& winograd_baseline();
const WinogradTable& winograd_avx2();
const WinogradTable& winograd_avx512();

}  // namespace tiller::kernels
