#pragma once
/// Random orders of NumPy's RandomState (its legacy generator, whose stream is frozen), which
/// torch-fidelity and others shuffle with.
#include <ATen/core/Tensor.h>

#include <random>

namespace tiller {
using at::Tensor;

class NumpyRandom {
 public:
  /// numpy.random.RandomState(seed).
  explicit NumpyRandom(uint32_t seed) : bits_(seed) {}

  /// RandomState.permutation(count): (count) int64. count below 2^32.
  Tensor permutation(int64_t count);
  /// RandomState.choice(count, size, replace=False): (size) int64.
  Tensor choice(int64_t count, int64_t size);

 private:
  uint32_t up_to(uint32_t largest);

  std::mt19937 bits_;
};

}  // namespace tiller
