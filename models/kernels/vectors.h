#pragma once
/// Vectors of the widest registers of the instruction set that a kernel is compiled for. All has
/// internal linkage, so that no two instruction sets' functions can be taken for each other.
#include "models/kernels/bfloat16.h"

namespace tiller::kernels {

namespace {

#if defined(__AVX512F__)
constexpr int64_t kWidth = 16;
#elif defined(__AVX2__)
constexpr int64_t kWidth = 8;
#else
constexpr int64_t kWidth = 4;
#endif

using Floats [[gnu::vector_size(4 * kWidth)]] = float;
using Bits [[gnu::vector_size(4 * kWidth)]] = uint32_t;
using Halves [[gnu::vector_size(2 * kWidth)]] = BFloat16Bits;

template <class V, class T>
V read(const T* from, int64_t count) {
  V v{};
  if (count >= kWidth)
    __builtin_memcpy(&v, from, sizeof v);
  else
    __builtin_memcpy(&v, from, count * sizeof(T));
  return v;
}

template <class V, class T>
void write(V v, T* to, int64_t count) {
  if (count >= kWidth)
    __builtin_memcpy(to, &v, sizeof v);
  else
    __builtin_memcpy(to, &v, count * sizeof(T));
}

[[maybe_unused]] Floats load(const float* from, int64_t count = kWidth) {
  return read<Floats>(from, count);
}
[[maybe_unused]] void store(Floats v, float* to, int64_t count = kWidth) { write(v, to, count); }

[[maybe_unused]] Floats load(const BFloat16Bits* from, int64_t count = kWidth) {
  const Bits bits = __builtin_convertvector(read<Halves>(from, count), Bits) << 16;
  return reinterpret_cast<Floats>(bits);
}

/// Rounds to nearest, ties to even.
[[maybe_unused]] void store(Floats v, BFloat16Bits* to, int64_t count = kWidth) {
  const Bits bits = reinterpret_cast<Bits>(v);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits quiet_nan = Bits{} + 0x7fc0;
  write(__builtin_convertvector(v == v ? rounded : quiet_nan, Halves), to, count);
}

/// Within 2 ulp for |x| <= 87, clamped beyond. Cody and Waite's reduction and Taylor's polynomial.
[[maybe_unused]] Floats exp(Floats x) {
  const Floats limit = Floats{} + 87.f;
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  const Floats shifter = Floats{} + 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = x * 1.44269504f + shifter;
  const Floats n = shifted - shifter;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = r * (1.f / 720) + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const Bits exponent = (reinterpret_cast<Bits>(shifted) - 0x4b400000u + 127u) << 23;
  return p * reinterpret_cast<Floats>(exponent);
}

/// f(first, count) for each vector of a row of `length` values; the last may be shorter.
template <class F>
void over(int64_t length, const F& f) {
  int64_t i = 0;
  for (; i + kWidth <= length; i += kWidth) f(i, kWidth);
  if (i < length) f(i, length - i);
}

}  // namespace
}  // namespace tiller::kernels
