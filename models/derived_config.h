#pragma once
/// Configs of networks whose file has none, from the names (diffusers' ones) and shapes of their
/// tensors. What these don't tell is taken as all published models have it, and scaled down where
/// a network is too narrow for that:
/// - heads of a UNet: 8 everywhere (SD1), or one for every 64 channels, and for every 16 where the
///   first stage is narrower than 64, as diffusers' test models have them;
/// - heads of a CLIP: one for every 64 channels, and 4 where it is narrower;
/// - groups of normalisations: 32, or the largest power of two that divides all widths.
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/tensor_file.h"

namespace tiller {

using TensorMap = std::map<std::string, Tensor>;

/// How many of `before` + 0, 1, 2... + `after` there are, up to `limit`.
int64_t count_of(const TensorMap&, const std::string& before, const std::string& after,
                 int64_t limit = 256);
/// The width of the text that cross-attention reads; 0 where there is none.
int64_t context_width_of(const TensorMap&);

/// diffusers' config.json of a UNet2DConditionModel. `heads`: of every stage; none: by width.
/// `pooled`, `time_ids`: width of the pooled text and number of ids that the added
/// embedding reads; unused where there is none.
nlohmann::json unet_config_of(const TensorMap&, std::optional<int64_t> heads, int64_t pooled,
                              int64_t time_ids);

/// diffusers' config.json of an AutoencoderKL, without scaling_factor and sample_size.
nlohmann::json vae_config_of(const TensorMap&);

/// transformers' config.json of a CLIPTextModel, or a CLIPTextModelWithProjection where there is a
/// projection.
nlohmann::json clip_config_of(const TensorMap&, const std::string& activation);

}  // namespace tiller
