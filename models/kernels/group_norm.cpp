#include "models/kernels/group_norm.h"

// Only what has internal linkage may be compiled here, so that the linker can't take another file's
// inline function from this one and run it on a machine without the instruction set.
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
using Ints [[gnu::vector_size(4 * kWidth)]] = int32_t;
using Bits [[gnu::vector_size(4 * kWidth)]] = uint32_t;
using Halves [[gnu::vector_size(2 * kWidth)]] = uint16_t;

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

Floats load(const float* from, int64_t count = kWidth) { return read<Floats>(from, count); }
void store(Floats v, float* to, int64_t count = kWidth) { write(v, to, count); }

Floats load(const BFloat16Bits* from, int64_t count) {
  const Bits bits = __builtin_convertvector(read<Halves>(from, count), Bits) << 16;
  return reinterpret_cast<Floats>(bits);
}

/// Rounds to nearest, ties to even.
void store(Floats v, BFloat16Bits* to, int64_t count) {
  const Bits bits = reinterpret_cast<Bits>(v);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits quiet_nan = Bits{} + 0x7fc0;
  write(__builtin_convertvector(v == v ? rounded : quiet_nan, Halves), to, count);
}

/// Within 2 ulp for |x| <= 87, clamped beyond. Cody and Waite's reduction and Taylor's polynomial.
Floats exp(Floats x) {
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

Floats sigmoid(Floats x) { return 1.f / (1.f + exp(-x)); }

Floats silu_gradient(Floats x) {
  const Floats s = sigmoid(x);
  return s * (1.f + x * (1.f - s));
}

/// act(x) for each vector of channels of each pixel; f(first, count).
template <class F>
void over_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kWidth <= channels; c += kWidth) f(c, kWidth);
  if (c < channels) f(c, channels - c);
}

void clear(float* sums, int64_t channels) {
  over_channels(channels, [&](int64_t c, int64_t) { store(Floats{}, sums + c); });
}

template <class T>
void moments(const T* x, int64_t pixels, int64_t channels, const float* center, float* sums,
             float* squares) {
  clear(sums, channels);
  clear(squares, channels);
  for (const T* end = x + pixels * channels; x != end; x += channels)
    over_channels(channels, [&](int64_t c, int64_t count) {
      const Floats v = load(x + c, count) - load(center + c);
      store(load(sums + c) + v, sums + c);
      store(load(squares + c) + v * v, squares + c);
    });
}

template <bool silu, class T>
void apply_as(const T* x, T* y, int64_t pixels, int64_t channels, Affine affine) {
  for (const T* end = x + pixels * channels; x != end; x += channels, y += channels)
    over_channels(channels, [&](int64_t c, int64_t count) {
      const Floats z = load(x + c, count) * load(affine.slope + c) + load(affine.intercept + c);
      store(silu ? z * sigmoid(z) : z, y + c, count);
    });
}

template <class T>
void apply(const T* x, T* y, int64_t pixels, int64_t channels, Affine affine) {
  (affine.silu ? apply_as<true, T> : apply_as<false, T>)(x, y, pixels, channels, affine);
}

template <bool silu>
Floats gradient_of_z(Floats x, Floats dy, Affine affine, int64_t c) {
  if constexpr (!silu) return dy;
  return dy * silu_gradient(x * load(affine.slope + c) + load(affine.intercept + c));
}

template <bool silu, class T>
void gradient_sums_as(const T* x, const T* dy, int64_t pixels, int64_t channels, Affine affine,
                      const float* center, float* sums, float* products) {
  clear(sums, channels);
  clear(products, channels);
  for (const T* end = x + pixels * channels; x != end; x += channels, dy += channels)
    over_channels(channels, [&](int64_t c, int64_t count) {
      const Floats v = load(x + c, count);
      const Floats dz = gradient_of_z<silu>(v, load(dy + c, count), affine, c);
      store(load(sums + c) + dz, sums + c);
      store(load(products + c) + dz * (v - load(center + c)), products + c);
    });
}

template <class T>
void gradient_sums(const T* x, const T* dy, int64_t pixels, int64_t channels, Affine affine,
                   const float* center, float* sums, float* products) {
  (affine.silu ? gradient_sums_as<true, T> : gradient_sums_as<false, T>)(x, dy, pixels, channels,
                                                                         affine, center, sums,
                                                                         products);
}

template <bool silu, class T>
void gradient_as(const T* x, const T* dy, T* dx, int64_t pixels, int64_t channels, Affine affine,
                 const float* a, const float* b, const float* c0) {
  const T* end = x + pixels * channels;
  for (; x != end; x += channels, dy += channels, dx += channels)
    over_channels(channels, [&](int64_t c, int64_t count) {
      const Floats v = load(x + c, count);
      const Floats dz = gradient_of_z<silu>(v, load(dy + c, count), affine, c);
      store(dz * load(a + c) + (v * load(b + c) + load(c0 + c)), dx + c, count);
    });
}

template <class T>
void gradient(const T* x, const T* dy, T* dx, int64_t pixels, int64_t channels, Affine affine,
              const float* a, const float* b, const float* c) {
  (affine.silu ? gradient_as<true, T> : gradient_as<false, T>)(x, dy, dx, pixels, channels, affine,
                                                               a, b, c);
}

template <class T>
constexpr GroupNormKernels<T> kKernels = {moments<T>, apply<T>, gradient_sums<T>, gradient<T>};

constexpr GroupNormTable kTable = {kKernels<float>, kKernels<BFloat16Bits>};

}  // namespace

const GroupNormTable& TILLER_KERNEL_NAME() { return kTable; }

}  // namespace tiller::kernels
