#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace tiller {
using at::Tensor;

/// One path of Brownian motion over [low, high], of which any increment can be had in any order:
/// halves are drawn from their whole, each from a seed of its own, down to a millionth. The numbers
/// of torchsde's BrownianInterval(entropy=seed, tol=1e-6, pool_size=24, halfway_tree=True) on a
/// CPU, which diffusers' DPMSolverSDEScheduler and k-diffusion draw from.
class BrownianTree {
 public:
  /// shape: of the path's points, float32.
  BrownianTree(uint64_t seed, std::vector<int64_t> shape, double low, double high);

  /// W(to) - W(from), for low <= from <= to <= high; points beyond are taken for the nearest end.
  Tensor increment(double from, double to) const;

 private:
  Tensor until(double point) const;
  Tensor normal(uint32_t seed) const;

  uint64_t seed_;
  std::vector<int64_t> shape_;
  double low_, high_;
  Tensor whole_;
};

/// numpy.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=24).generate_state(1).
uint32_t spawned_seed(uint64_t entropy, const std::vector<uint64_t>& spawn_key);

}  // namespace tiller
