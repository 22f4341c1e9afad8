#include "models/kernels/group_norm.h"

#include "models/kernels/vectors.h"

// Only what has internal linkage may be compiled here, so that the linker can't take another file's
// inline function from this one and run it on a machine without the instruction set.
namespace tiller::kernels {
namespace {

Floats sigmoid(Floats x) { return 1.f / (1.f + exp(-x)); }

Floats silu_gradient(Floats x) {
  const Floats s = sigmoid(x);
  return s * (1.f + x * (1.f - s));
}

void clear(float* sums, int64_t channels) {
  over(channels, [&](int64_t c, int64_t) { store(Floats{}, sums + c); });
}

template <class T>
void moments(const T* x, int64_t pixels, int64_t channels, const float* center, float* sums,
             float* squares) {
  clear(sums, channels);
  clear(squares, channels);
  for (const T* end = x + pixels * channels; x != end; x += channels)
    over(channels, [&](int64_t c, int64_t count) {
      const Floats v = load(x + c, count) - load(center + c);
      store(load(sums + c) + v, sums + c);
      store(load(squares + c) + v * v, squares + c);
    });
}

template <bool silu, class T>
void apply_as(const T* x, T* y, int64_t pixels, int64_t channels, Affine affine) {
  for (const T* end = x + pixels * channels; x != end; x += channels, y += channels)
    over(channels, [&](int64_t c, int64_t count) {
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
    over(channels, [&](int64_t c, int64_t count) {
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
    over(channels, [&](int64_t c, int64_t count) {
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
