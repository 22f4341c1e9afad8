#include "samplers/brownian_tree.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace tiller {
namespace {

constexpr size_t kPool = 24;

/// The hash of NumPy's SeedSequence (after M. O'Neill's seed_seq), whose multiplier moves on.
struct Hash {
  uint32_t state = 0x43b0d7e5;
  uint32_t multiplier = 0x931e8875;

  uint32_t operator()(uint32_t value) {
    value ^= state;
    state *= multiplier;
    value *= state;
    return value ^ (value >> 16);
  }
};

uint32_t mixed(uint32_t x, uint32_t y) {
  const uint32_t value = 0xca01f9ddu * x - 0x4973f715u * y;
  return value ^ (value >> 16);
}

void append_words(std::vector<uint32_t>& words, uint64_t value) {
  do {
    words.push_back(static_cast<uint32_t>(value));
    value >>= 32;
  } while (value > 0);
}

/// To a millionth, as Python's round(x, 6).
double rounded(double x) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.6f", x);
  return std::strtod(text.data(), nullptr);
}

}  // namespace

uint32_t spawned_seed(uint64_t entropy, const std::vector<uint64_t>& spawn_key) {
  std::vector<uint32_t> words;
  append_words(words, entropy);
  words.resize(kPool);
  for (const uint64_t key : spawn_key) append_words(words, key);
  std::array<uint32_t, kPool> pool;
  Hash hash;
  for (size_t k = 0; k < kPool; ++k) pool[k] = hash(words[k]);
  for (size_t from = 0; from < kPool; ++from)
    for (size_t to = 0; to < kPool; ++to)
      if (from != to) pool[to] = mixed(pool[to], hash(pool[from]));
  for (size_t from = kPool; from < words.size(); ++from)
    for (uint32_t& entry : pool) entry = mixed(entry, hash(words[from]));
  return Hash{0x8b51f9dd, 0x58f38ded}(pool[0]);
}

BrownianTree::BrownianTree(uint64_t seed, std::vector<int64_t> shape, double low, double high)
    : seed_(seed), shape_(std::move(shape)), low_(rounded(low)), high_(rounded(high)) {
  whole_ = normal(spawned_seed(seed_, {})) * std::sqrt(high - low);
}

Tensor BrownianTree::normal(uint32_t seed) const {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape_, generator, at::TensorOptions(at::kFloat));
}

/// W(point) - W(low), by descending to where the point is an end.
Tensor BrownianTree::until(double point) const {
  double start = low_, end = high_;
  uint64_t key = 0;
  Tensor sum = at::zeros_like(whole_), increment = whole_;
  for (uint64_t depth = 0; point > start && point < end; ++depth) {
    const double middle = rounded((start + end) / 2), share = 1 / (end - start);
    if (middle <= start || middle >= end) break;
    const double deviation = std::sqrt((middle - start) * (end - middle) * share);
    const Tensor left = (middle - start) * increment * share +
                        deviation * normal(spawned_seed(seed_, {key, depth}));
    const bool right = point > middle;
    if (right) sum = sum + left;
    increment = right ? increment - left : left;
    (right ? start : end) = middle;
    key = 2 * key + right;
  }
  return point <= start ? sum : sum + increment;
}

Tensor BrownianTree::increment(double from, double to) const {
  return until(rounded(to)) - until(rounded(from));
}

}  // namespace tiller
