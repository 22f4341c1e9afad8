#pragma once
#include <cstdint>

namespace tiller::kernels {

/// Whether models/kernels/layer_norm.cuh takes tokens of so many channels.
inline bool layer_norm_fits(int64_t channels) {
  return channels > 0 && channels % 8 == 0 && channels <= 2048;
}

}  // namespace tiller::kernels
