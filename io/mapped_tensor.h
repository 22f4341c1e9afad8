#pragma once
#include <ATen/core/Tensor.h>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// A view of the mapped bytes from `begin` on, which keeps the mapping alive; a copy where they are
/// misaligned. The caller has checked that they lie within the file.
Tensor mapped_tensor(const std::shared_ptr<MappedFile>&, uint64_t begin, at::IntArrayRef shape,
                     at::ScalarType dtype);

}  // namespace tiller
