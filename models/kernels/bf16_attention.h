#pragma once
/// Scaled dot-product attention in bfloat16 by blocks (flash attention, arXiv 2205.14135) on
/// processors whose AVX-512 multiplies bfloat16 pairs. One head at a time: keys and values are
/// brought into the order that the products read, then up to `kQueries` queries are answered at
/// once. Weights are rounded to bfloat16 before they meet the values, sums are float32.
#include <cstdint>

namespace tiller::kernels {

/// Bits of bfloat16 numbers, and how far apart rows are.
struct Bf16Rows {
  const uint16_t* first;
  int64_t stride;
};

struct Bf16Attention {
  static constexpr int64_t kQueries = 48;

  /// Numbers that packed keys and values of a head take. width: even.
  int64_t (*packed_keys)(int64_t keys, int64_t width);
  int64_t (*packed_values)(int64_t keys, int64_t width);
  void (*pack)(Bf16Rows k, Bf16Rows v, int64_t keys, int64_t width, uint16_t* packed_k,
               uint16_t* packed_v);
  /// Floats that `attend` works in, from an address that is a multiple of 64.
  int64_t (*workspace)(int64_t width);
  /// out: rows of `width`, out_stride apart, for `queries` of at most kQueries.
  void (*attend)(Bf16Rows q, int64_t queries, const uint16_t* packed_k, const uint16_t* packed_v,
                 int64_t keys, int64_t width, float scale, float* workspace, uint16_t* out,
                 int64_t out_stride);
};

/// Null where it wasn't compiled for such processors. Whether this one is such a one is the
/// caller's to know.
const Bf16Attention* bf16_attention();

}  // namespace tiller::kernels
