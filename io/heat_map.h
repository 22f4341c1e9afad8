#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace tiller {
using at::Tensor;

/// (...) values from 0 to 1 to (3, ...) uint8 by the colour map "magma" (black, purple, orange,
/// cream), whose lightness rises evenly.
Tensor magma(const Tensor& values);

/// An image with a map over it, as DAAM shows it: the map is brought to the image's size by bicubic
/// interpolation and stretched from its least to its greatest value. Where it is low the image
/// darkens, where it is high it takes the map's colour. Small images are enlarged by whole factors
/// so that the label, in the lower left corner, can be read. image: (3, H, W) uint8, map: (h, w)
/// float32. Returns (3, n H, n W) uint8.
Tensor heat_overlay(const Tensor& image, const Tensor& map, const std::string& label);

/// Where a map lies.
struct MapSummary {
  double least, greatest;
  double x,
      y;  ///< Centre of mass of what is above the least value, as fractions from the upper left.
};
MapSummary summary(const Tensor& map);

}  // namespace tiller
