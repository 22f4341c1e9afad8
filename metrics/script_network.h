#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// A TorchScript file's forward. Its code runs: load files only from those whom you trust. Throws
/// Error when it can't be loaded; the function does when the network fails. An argument
/// `return_features`, which NVIDIA's detectors have, is set to true. Of a tuple the first tensor
/// counts.
std::function<Tensor(const Tensor&)> load_script(const fs::path&, at::Device device = at::kCPU);

}  // namespace tiller
