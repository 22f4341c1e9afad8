#pragma once
#include <nlohmann/json.hpp>

#include "models/network.h"
#include "models/weights.h"

namespace tiller {

/// diffusers' UNet2DConditionModel (Stable Diffusion 1, 2 and XL) from its config.json, with the
/// tensors' names of diffusers. Its sites are the transformer blocks. One with num_class_embeds
/// reads labels, and without a context attends as to one token of zeros. Throws Error naming keys
/// that are malformed or not supported. Call weights.finish() afterwards.
std::unique_ptr<Network> unet2d_condition(const nlohmann::json& config, Weights&);

}  // namespace tiller
