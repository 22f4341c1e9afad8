#pragma once
#include <cstddef>

namespace tiller::kernels {

/// Of a pack that a thread reads at once: 8 values in half precision, 4 in float32.
constexpr int kPackBytes = 16;

/// Values that a thread reads and writes at once.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T values[count];
};

}  // namespace tiller::kernels
