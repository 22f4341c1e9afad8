#pragma once
#include <ATen/ATen.h>

namespace tiller {

/// In memory that a copy to a GPU needn't wait for, where x is to make one.
inline at::Tensor pinned_for(const at::Tensor& x, at::Device device) {
  return x.is_cpu() && device.is_cuda() ? x.pin_memory() : x;
}

/// x as `options` say, on their device. Copied to a GPU without waiting for it, from memory that
/// stays until the copy is done.
inline at::Tensor sent(const at::Tensor& x, const at::TensorOptions& options) {
  const at::Device device = options.device();
  return pinned_for(x, device).to(options, /*non_blocking=*/device.is_cuda());
}

}  // namespace tiller
