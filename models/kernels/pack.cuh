#pragma once
#include <cstddef>

namespace tiller::kernels {

/// Values that a thread reads and writes at once.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T values[count];
};

}  // namespace tiller::kernels
