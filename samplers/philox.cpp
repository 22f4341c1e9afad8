#include "samplers/philox.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <numbers>

namespace tiller {
namespace {

constexpr int rounds = 10;
constexpr uint32_t multipliers[] = {0xD2511F53, 0xCD9E8D57}, weyl[] = {0x9E3779B9, 0xBB67AE85};

using Counter = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

Counter philox(Counter counter, Key key) {
  for (int i = 0; i < rounds; ++i) {
    const uint64_t a = uint64_t{multipliers[0]} * counter[0];
    const uint64_t b = uint64_t{multipliers[1]} * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b),
               uint32_t(a >> 32) ^ counter[3] ^ key[1], uint32_t(a)};
    key[0] += weyl[0];
    key[1] += weyl[1];
  }
  return counter;
}

/// In (0, 1).
double uniform(uint32_t bits) { return (double(bits) + 0.5) * 0x1p-32; }

}  // namespace

Tensor philox_normal(uint64_t seed, uint32_t draw, at::IntArrayRef shape) {
  const Tensor noise = at::empty(shape, at::kFloat);
  auto* out = noise.data_ptr<float>();
  const Key key = {uint32_t(seed), uint32_t(seed >> 32)};
  for (int64_t i = 0; i < noise.numel(); ++i) {
    const Counter bits = philox({draw, 0, uint32_t(i), 0}, key);
    const double radius = std::sqrt(-2 * std::log(uniform(bits[0])));
    out[i] = float(radius * std::sin(2 * std::numbers::pi * uniform(bits[1])));
  }
  return noise;
}

}  // namespace tiller
