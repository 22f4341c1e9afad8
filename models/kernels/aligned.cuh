#pragma once
#include <ATen/core/Tensor.h>

#include "models/kernels/pack.cuh"

namespace tiller::kernels {

/// t, or a copy of it: at an address that packs can be read at.
inline at::Tensor aligned(const at::Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % kPackBytes == 0 ? t : t.clone();
}

}  // namespace tiller::kernels
