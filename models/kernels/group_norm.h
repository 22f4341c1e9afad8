#pragma once
/// GroupNorm's inner loops over the pixels of a channels-last image. group_norm.cpp is compiled
/// once an instruction set; models/group_norm.cpp picks one at run time.
#include "models/kernels/bfloat16.h"

namespace tiller::kernels {

/// Arrays of one float a channel have room for a multiple of this.
constexpr int64_t kChannelPadding = 16;

/// y = act(x * slope + intercept), act being SiLU or the identity.
struct Affine {
  const float *slope, *intercept;
  bool silu;
};

/// `pixels` consecutive pixels of `channels` values of type T.
template <class T>
struct GroupNormKernels {
  /// sums, squares: over the pixels, of x - center.
  void (*moments)(const T* x, int64_t pixels, int64_t channels, const float* center, float* sums,
                  float* squares);
  void (*apply)(const T* x, T* y, int64_t pixels, int64_t channels, Affine);
  /// With dz = dy * act'(x * slope + intercept): sums of dz and of dz * (x - center).
  void (*gradient_sums)(const T* x, const T* dy, int64_t pixels, int64_t channels, Affine,
                        const float* center, float* sums, float* products);
  /// dx = dz * a + x * b + c.
  void (*gradient)(const T* x, const T* dy, T* dx, int64_t pixels, int64_t channels, Affine,
                   const float* a, const float* b, const float* c);
};

struct GroupNormTable {
  GroupNormKernels<float> float32;
  GroupNormKernels<BFloat16Bits> bfloat16;
};

/// Each defined by one compilation of group_norm.cpp.
const GroupNormTable& group_norm_baseline();
const GroupNormTable& group_norm_avx2();
const GroupNormTable& group_norm_avx512();

}  // namespace tiller::kernels
