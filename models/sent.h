#pragma once
#include <ATen/ATen.h>

namespace tiller {

/// x as `options` say, on their device. Copied to a GPU without waiting for it, from memory that
/// stays until the copy is done.
inline at::Tensor sent(const at::Tensor& x, const at::TensorOptions& options) {
  const bool travels = x.is_cpu() && options.device().is_cuda();
  return travels ? x.pin_memory().to(options, /*non_blocking=*/true) : x.to(options);
}

}  // namespace tiller
