#pragma once
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

namespace tiller::kernels {

/// Whether kernels take values of the type.
inline bool is_kernel_type(at::ScalarType type) {
  return type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
}

/// Calls f with a value of the type: float32, half or bfloat16. Throws c10::Error on any other.
template <class F>
void with_floating_type(at::ScalarType type, const char* operation, const F& f) {
  if (type == at::kFloat)
    f(float{});
  else if (type == at::kHalf)
    f(at::Half{});
  else if (type == at::kBFloat16)
    f(at::BFloat16{});
  else
    TORCH_CHECK(false, operation, ": got ", type, ".");
}

}  // namespace tiller::kernels
