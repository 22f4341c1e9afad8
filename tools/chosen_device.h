#pragma once
#include "models/device.h"

namespace tiller {

/// choose_device, which tells once on stderr where a GPU does less than it could.
at::Device chosen_device(const std::string& name);

}  // namespace tiller
