#pragma once
#include "models/sent.h"

namespace tiller {

/// buffer = fresh on the device, in the buffer's own memory where shapes allow: recorded
/// evaluations find new numbers at the old place. Copied without waiting for the device.
inline void refill(at::Tensor& buffer, const at::Tensor& fresh, at::Device device) {
  const at::Tensor source = pinned_for(fresh, device);
  const bool fits = buffer.defined() && buffer.sizes() == fresh.sizes() &&
                    buffer.device() == device &&
                    buffer.is_inference() == c10::InferenceMode::is_enabled();
  if (fits)
    buffer.copy_(source, /*non_blocking=*/true);
  else
    buffer = source.to(device, /*non_blocking=*/true, /*copy=*/true);
}

}  // namespace tiller
