#include "models/kernels/sinkhorn.h"

#include "models/kernels/vectors.h"

// Only what has internal linkage may be compiled here; group_norm.cpp says why.
namespace tiller::kernels {
namespace {

/// v without what lies beyond `count`.
Floats first(Floats v, int64_t count, float beyond) {
  for (int64_t i = count; i < kWidth; ++i) v[i] = beyond;
  return v;
}

float largest(Floats v) {
  float max = v[0];
  for (int64_t i = 1; i < kWidth; ++i) max = v[i] > max ? v[i] : max;
  return max;
}

float total(Floats v) {
  float sum = 0;
  for (int64_t i = 0; i < kWidth; ++i) sum += v[i];
  return sum;
}

RowSum exponentials(float* logits, const float* potential, int64_t columns) {
  const float lowest = logits[0] + potential[0];
  Floats maxima = Floats{} + lowest;
  over(columns, [&](int64_t j, int64_t count) {
    const Floats v = load(logits + j, count) + load(potential + j, count);
    store(v, logits + j, count);
    const Floats known = count < kWidth ? first(v, count, lowest) : v;
    maxima = known > maxima ? known : maxima;
  });
  const float max = largest(maxima);
  Floats sums{};
  over(columns, [&](int64_t j, int64_t count) {
    const Floats e = exp(load(logits + j, count) - max);
    store(e, logits + j, count);
    sums += count < kWidth ? first(e, count, 0) : e;
  });
  return {max, total(sums)};
}

void add_scaled(const float* row, float weight, float* sums, int64_t columns) {
  over(columns, [&](int64_t j, int64_t count) {
    store(load(sums + j, count) + load(row + j, count) * weight, sums + j, count);
  });
}

constexpr SinkhornTable kTable = {exponentials, add_scaled};

}  // namespace

const SinkhornTable& TILLER_KERNEL_NAME() { return kTable; }

}  // namespace tiller::kernels
