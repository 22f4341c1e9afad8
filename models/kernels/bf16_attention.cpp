#include "models/kernels/bf16_attention.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

// Only what has internal linkage may be compiled here; group_norm.cpp says why.
namespace tiller::kernels {

#if defined(__AVX512BF16__)
namespace {

constexpr int64_t kTile = 32;     // keys that a product of queries and keys gives at once
constexpr int64_t kBlock = 256;   // keys whose weights lie in the cache
constexpr int64_t kRowStep = 24;  // a multiple of all that a product takes rows at
constexpr int64_t kScoreRows = 12;
constexpr int64_t kRows = Bf16Attention::kQueries;

int64_t up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

int64_t packed_keys(int64_t keys, int64_t width) { return up(keys, kTile) * width; }
int64_t packed_values(int64_t keys, int64_t width) { return up(keys, kTile) * up(width, 16); }

/// Keys as (tile, pair of numbers, key of the tile, number of the pair), values as (pair of keys,
/// column, key of the pair); zeros beyond the ends.
void pack(Bf16Rows k, Bf16Rows v, int64_t keys, int64_t width, uint16_t* packed_k,
          uint16_t* packed_v) {
  for (int64_t tile = 0; tile < keys; tile += kTile)
    for (int64_t pair = 0; pair < width; pair += 2)
      for (int64_t key = tile; key < tile + kTile; ++key) {
        const uint16_t* row = k.first + key * k.stride + pair;
        *packed_k++ = key < keys ? row[0] : 0;
        *packed_k++ = key < keys ? row[1] : 0;
      }
  for (int64_t key = 0; key < up(keys, kTile); key += 2)
    for (int64_t column = 0; column < up(width, 16); ++column)
      for (int64_t i = key; i < key + 2; ++i)
        *packed_v++ = i < keys && column < width ? v.first[i * v.stride + column] : 0;
}

__m512bh load_pairs(const uint16_t* from) { return (__m512bh)_mm512_loadu_si512(from); }

__m512bh same_pair(const uint16_t* from) {
  int pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

/// sums[r][c] += sum over pairs of a[r][pair] . b[pair][c], columns of 16.
template <int rows, int columns>
void products(const uint16_t* a, int64_t a_stride, const uint16_t* b, int64_t b_stride,
              int64_t pairs, __m512 (&sums)[rows][columns]) {
  for (int64_t pair = 0; pair < pairs; ++pair) {
    __m512bh parts[columns];
#pragma GCC unroll 4
    for (int c = 0; c < columns; ++c) parts[c] = load_pairs(b + pair * b_stride + c * 32);
#pragma GCC unroll 24
    for (int r = 0; r < rows; ++r) {
      const __m512bh row = same_pair(a + r * a_stride + pair * 2);
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) sums[r][c] = _mm512_dpbf16_ps(sums[r][c], row, parts[c]);
    }
  }
}

/// scores: (rows, kBlock), scaled, of `keys` packed keys.
void score(const uint16_t* q, int64_t rows, const uint16_t* packed_k, int64_t keys, int64_t width,
           float scale, float* scores) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t key = 0; key < keys; key += kTile)
    for (int64_t row = 0; row < rows; row += kScoreRows) {
      __m512 sums[kScoreRows][2] = {};
      products(q + row * width, width, packed_k + key * width, 2 * kTile, width / 2, sums);
#pragma GCC unroll 12
      for (int r = 0; r < kScoreRows; ++r)
        for (int c = 0; c < 2; ++c)
          _mm512_storeu_ps(scores + (row + r) * kBlock + key + 16 * c,
                           _mm512_mul_ps(sums[r][c], factor));
    }
}

/// For x <= 0; NaN stays.
__m512 exp(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-87), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.f / 120);
  constexpr float factors[] = {1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f};
  for (const float factor : factors) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(factor));
  return _mm512_scalef_ps(p, n);
}

/// What is known of a query's weights so far.
struct Softmax {
  float max[kRows], sum[kRows], rescale[kRows];
};

/// Scores to weights, (rows, kBlock) in bfloat16, relative to the largest score so far. `keys` of
/// them are real, the others up to `padded` get next to nothing.
void weigh(float* scores, int64_t rows, int64_t keys, int64_t padded, Softmax& softmax,
           uint16_t* weights) {
  for (int64_t row = 0; row < rows; ++row) {
    float* score = scores + row * kBlock;
    for (int64_t key = keys; key < padded; ++key) score[key] = -__builtin_inff();
    __m512 largest = _mm512_set1_ps(-__builtin_inff());
    for (int64_t key = 0; key < padded; key += 16)
      largest = _mm512_max_ps(largest, _mm512_loadu_ps(score + key));
    const float found = _mm512_reduce_max_ps(largest), old = softmax.max[row];
    const float now = found > old ? found : old;
    const __m512 max = _mm512_set1_ps(now == -__builtin_inff() ? 0 : now);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t key = 0; key < padded; key += 32) {
      const __m512 low = exp(_mm512_sub_ps(_mm512_loadu_ps(score + key), max));
      const __m512 high = exp(_mm512_sub_ps(_mm512_loadu_ps(score + key + 16), max));
      sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
      _mm512_storeu_si512(weights + row * kBlock + key, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    softmax.rescale[row] = _mm512_cvtss_f32(exp(_mm512_sub_ps(_mm512_set1_ps(old), max)));
    softmax.sum[row] = softmax.sum[row] * softmax.rescale[row] + _mm512_reduce_add_ps(sum);
    softmax.max[row] = now;
  }
}

/// answers = answers * rescale + weights . values, for 16 * columns columns.
template <int columns>
void add_values(const uint16_t* weights, int64_t rows, const uint16_t* packed_v, int64_t keys,
                int64_t padded_width, const float* rescale, float* answers) {
  constexpr int step = columns == 4 ? 6 : 24 / columns;
  for (int64_t row = 0; row < rows; row += step) {
    __m512 sums[step][columns] = {};
    products(weights + row * kBlock, kBlock, packed_v, 2 * padded_width, keys / 2, sums);
#pragma GCC unroll 24
    for (int r = 0; r < step; ++r)
      for (int c = 0; c < columns; ++c) {
        float* answer = answers + (row + r) * padded_width + 16 * c;
        _mm512_storeu_ps(answer, _mm512_fmadd_ps(_mm512_loadu_ps(answer),
                                                 _mm512_set1_ps(rescale[row + r]), sums[r][c]));
      }
  }
}

constexpr decltype(&add_values<1>) kAddValues[] = {add_values<1>, add_values<2>, add_values<3>,
                                                   add_values<4>};

/// Columns of 16 to take next: threes rather than a four and a one.
int64_t next_columns(int64_t left) { return left == 5 || left == 6 ? 3 : left < 4 ? left : 4; }

int64_t floats_for(int64_t numbers) { return up(numbers, 32) / 2; }

int64_t workspace(int64_t width) {
  return kRows * kBlock + kRows * up(width, 16) + floats_for(kRows * width) +
         floats_for(kRows * kBlock);
}

void store(const float* answers, float sum, int64_t width, uint16_t* out) {
  const __m512 total = _mm512_set1_ps(sum);
  for (int64_t column = 0; column < width; column += 16) {
    const int64_t left = width - column;
    const __mmask16 mask = left >= 16 ? 0xffff : __mmask16((1u << left) - 1);
    const __m256i rounded =
        (__m256i)_mm512_cvtneps_pbh(_mm512_div_ps(_mm512_loadu_ps(answers + column), total));
    _mm256_mask_storeu_epi16(out + column, mask, rounded);
  }
}

void attend(Bf16Rows q, int64_t queries, const uint16_t* packed_k, const uint16_t* packed_v,
            int64_t keys, int64_t width, float scale, float* work, uint16_t* out,
            int64_t out_stride) {
  const int64_t rows = up(queries, kRowStep), padded_width = up(width, 16);
  float* scores = work;
  float* answers = scores + kRows * kBlock;
  auto* own = reinterpret_cast<uint16_t*>(answers + kRows * padded_width);
  auto* weights =
      reinterpret_cast<uint16_t*>(answers + kRows * padded_width + floats_for(kRows * width));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < width; ++column)
      own[row * width + column] = row < queries ? q.first[row * q.stride + column] : 0;
  __builtin_memset(answers, 0, size_t(rows * padded_width) * sizeof(float));
  Softmax softmax;
  for (int64_t row = 0; row < rows; ++row) {
    softmax.max[row] = -__builtin_inff();
    softmax.sum[row] = 0;
  }
  for (int64_t key = 0; key < keys; key += kBlock) {
    const int64_t real = keys - key < kBlock ? keys - key : kBlock, padded = up(real, kTile);
    score(own, rows, packed_k + key * width, padded, width, scale, scores);
    weigh(scores, rows, real, padded, softmax, weights);
    const uint16_t* values = packed_v + key * padded_width;
    for (int64_t column = 0; column < padded_width / 16;) {
      const int64_t columns = next_columns(padded_width / 16 - column);
      kAddValues[columns - 1](weights, rows, values + column * 32, padded, padded_width,
                              softmax.rescale, answers + column * 16);
      column += columns;
    }
  }
  for (int64_t row = 0; row < queries; ++row)
    store(answers + row * padded_width, softmax.sum[row], width, out + row * out_stride);
}

constexpr Bf16Attention kAttention = {packed_keys, packed_values, pack, workspace, attend};

}  // namespace

const Bf16Attention* bf16_attention() { return &kAttention; }

#else

const Bf16Attention* bf16_attention() { return nullptr; }

#endif

}  // namespace tiller::kernels
