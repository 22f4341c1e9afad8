#include "models/kernels/fp8.h"

#include "models/kernels/vectors.h"

// Only what has internal linkage may be compiled here; group_norm.cpp says why.
namespace tiller::kernels {
namespace {

using Bytes [[gnu::vector_size(kWidth)]] = uint8_t;
using Halves [[gnu::vector_size(2 * kWidth)]] = uint16_t;

/// Sign, four bits of exponent with bias 7, three of mantissa. Float has bias 127: 120 more.
Floats value_of(Bits code) {
  const Bits magnitude = code & 0x7f;
  const Floats normal = reinterpret_cast<Floats>((magnitude << 20) + (120u << 23));
  const Floats subnormal = 2.f * (normal - 0.0078125f);  // 2 (2^-7 (1 + m / 8) - 2^-7) = 2^-9 m
  const Floats value = magnitude < 8 ? subnormal : normal;
  return reinterpret_cast<Floats>(reinterpret_cast<Bits>(value) | (code & 0x80) << 24);
}

Floats scaled(const uint8_t* values, float scale, int64_t count) {
  return value_of(__builtin_convertvector(read<Bytes>(values, count), Bits)) * scale;
}

void to_float(const uint8_t* values, float scale, float* out, int64_t columns) {
  over(columns,
       [&](int64_t j, int64_t count) { store(scaled(values + j, scale, count), out + j, count); });
}

void to_bfloat16(const uint8_t* values, float scale, uint16_t* out, int64_t columns) {
  over(columns, [&](int64_t j, int64_t count) {
    const Bits bits = reinterpret_cast<Bits>(scaled(values + j, scale, count)) >> 16;
    write(__builtin_convertvector(bits, Halves), out + j, count);
  });
}

constexpr Fp8Table kTable = {to_float, to_bfloat16};

}  // namespace

const Fp8Table& TILLER_KERNEL_NAME() { return kTable; }

}  // namespace tiller::kernels
