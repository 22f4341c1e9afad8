#pragma once
#include "models/layers.h"
#include "models/unet2d_config.h"

namespace tiller {

/// Linear, SiLU, linear.
struct UNet2DEmbedding {
  Linear first, second;
  Tensor operator()(Rows&, const Tensor& x) const;
};

/// The time embedding of a UNet2DConditionModel or ControlNetModel: of the timestep, the guidance
/// scale (LCM), the class, the pooled text and the time ids (SDXL).
struct UNet2DTime {
  UNet2DEmbedding time, added;
  Linear guidance;
  Tensor classes;           ///< (num_class_embeds, T); undefined: labels aren't read.
  int64_t frequencies = 0;  ///< Width of the timestep's features.
  int64_t guidance_channels = 0, time_id_channels = 0, added_channels = 0;
  bool sin_first = false;
  double frequency_shift = 0;

  /// t: (B). What the resnets read, (R, T): the embedding after its SiLU. Throws Error where the
  /// conditioning lacks a part or has it in another width.
  Tensor operator()(const Tensor& t, Rows&) const;

 private:
  Tensor embed_class(Rows&) const;
  Tensor embed_added(Rows&) const;
};

UNet2DTime take_unet2d_time(Weights&, const UNet2DConfig&);

/// Throws Error "UNet2DConditionModel: ..." where `x` isn't there or has another size.
void expect_unet2d_size(const Tensor& x, int64_t dim, int64_t expected, const std::string& what);

}  // namespace tiller
