#pragma once
#include "models/control_net.h"

namespace tiller {

/// Loads a ControlNet: a folder with config.json and weights, or one file of weights in diffusers'
/// names or in the original ones (`control_model.input_blocks...`), whose config follows from its
/// tensors. `unet`: the config.json of the network that it is to steer. Throws Error where it is
/// none, of another family or of other widths.
std::shared_ptr<const ControlNet> load_control_net(const fs::path&, const nlohmann::json& unet,
                                                   at::ScalarType dtype, at::Device device);

}  // namespace tiller
