#pragma once
/// NumPy's names of dtypes, as "<f4".
#include <ATen/core/Tensor.h>

#include <string>

namespace tiller {

/// Throws Error naming `file` on types without counterpart and on big-endian ones.
at::ScalarType numpy_dtype(const std::string& descr, const std::string& file);
/// Throws Error naming `file` on types that NumPy lacks.
std::string numpy_descr(at::ScalarType, const std::string& file);

}  // namespace tiller
