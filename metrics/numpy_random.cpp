#include "metrics/numpy_random.h"

#include <ATen/ATen.h>

#include <bit>

namespace tiller {

/// Uniform in [0, largest]: draws as many bits as it has until they are small enough.
uint32_t NumpyRandom::up_to(uint32_t largest) {
  if (largest == 0) return 0;
  const uint32_t mask = UINT32_MAX >> std::countl_zero(largest);
  uint32_t value = 0;
  do value = static_cast<uint32_t>(bits_()) & mask;
  while (value > largest);
  return value;
}

Tensor NumpyRandom::permutation(int64_t count) {
  Tensor order = at::arange(count, at::kLong);
  auto* items = order.data_ptr<int64_t>();
  for (int64_t i = count - 1; i > 0; --i) std::swap(items[i], items[up_to(uint32_t(i))]);
  return order;
}

Tensor NumpyRandom::choice(int64_t count, int64_t size) {
  return permutation(count).slice(0, 0, size);
}

}  // namespace tiller
