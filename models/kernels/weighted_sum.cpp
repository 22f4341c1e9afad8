#include "models/kernels/weighted_sum.h"

#include "models/kernels/vectors.h"

// Only what has internal linkage may be compiled here; group_norm.cpp says why.
namespace tiller::kernels {
namespace {

using Doubles [[gnu::vector_size(8 * kWidth)]] = double;

/// An element is rounded alike wherever it lies: the last ones are a vector too.
template <class V, class T>
void sum(const T* const* x, const double* factors, int64_t terms, T* sums, int64_t count) {
  over(count, [&](int64_t j, int64_t width) {
    Doubles sum{};
    for (int64_t i = 0; i < terms; ++i)
      sum += factors[i] * __builtin_convertvector(read<V>(x[i] + j, width), Doubles);
    write(__builtin_convertvector(sum, V), sums + j, width);
  });
}

constexpr WeightedSumTable kTable = {sum<Floats, float>, sum<Doubles, double>};

}  // namespace

const WeightedSumTable& TILLER_KERNEL_NAME() { return kTable; }

}  // namespace tiller::kernels
