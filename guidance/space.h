#pragma once
#include "guidance/guidance.h"
#include "io/options.h"

namespace tiller {

/// Where a guidance that isn't linear works: on the network's raw outputs or on estimates of x_0.
enum class Space { raw, sample };

/// The option `space`, with its default as written.
Option space_option(const std::string& value);
Space space_from(const Options&);

/// A raw output, (B, C, H, W), as an estimate of x_0 in float32, or as it is.
Tensor into(Space, const GuidanceStep&, const Tensor& output);
/// A difference of two such estimates as the difference of raw outputs.
Tensor difference_from(Space, const GuidanceStep&, const Tensor& difference);

/// <a, b> over all that belongs to an image: (B, 1, 1, 1), in float64.
Tensor image_dot(const Tensor& a, const Tensor& b);

}  // namespace tiller
