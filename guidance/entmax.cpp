#include "guidance/entmax.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>

#include "io/parallel.h"

namespace tiller {
namespace {

enum class Entmax { soft, hard };  ///< alpha = 1.5, alpha = 2.

constexpr int64_t kLanes = 16;
constexpr int kMostSteps = 64;

/// A row's scores less their largest, and lanes that weigh nothing up to a multiple of kLanes.
using Row = std::vector<float>;

Row lowered_row(const float* scores, int64_t count, float factor) {
  const float top = *std::max_element(scores, scores + count);
  Row row(size_t((count + kLanes - 1) / kLanes * kLanes), -1e30F);
  for (int64_t i = 0; i < count; ++i) row[size_t(i)] = factor * (scores[i] - top);
  return row;
}

/// The sums of (z - tau)_+ and of its squares, and how many lie above.
struct Excess {
  float sum = 0, squares = 0, count = 0;
};

Excess excess_over(float tau, const Row& row) {
  std::array<float, kLanes> sums{}, squares{}, counts{};
  for (size_t first = 0; first < row.size(); first += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float over = std::max(row[first + lane] - tau, 0.0F);
      sums[lane] += over;
      squares[lane] += over * over;
      counts[lane] += over > 0 ? 1.0F : 0.0F;
    }
  Excess excess;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    excess.sum += sums[lane];
    excess.squares += squares[lane];
    excess.count += counts[lane];
  }
  return excess;
}

/// Newton's method from below, where the convex sum of weights is too large: it never overshoots.
template <Entmax kind>
float threshold_of(const Row& row) {
  float tau = -1;
  for (int step = 0; step < kMostSteps; ++step) {
    const Excess excess = excess_over(tau, row);
    const float next = kind == Entmax::soft ? tau + (excess.squares - 1) / (2 * excess.sum)
                                            : tau + (excess.sum - 1) / excess.count;
    if (!(next > tau)) break;
    tau = next;
  }
  return tau;
}

template <Entmax kind>
Tensor by_rows(const Tensor& scores) {
  const Tensor in = scores.contiguous(), out = at::empty_like(in);
  const int64_t count = in.size(-1);
  parallel_for(0, in.numel() / count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* z = in.const_data_ptr<float>() + i * count;
      float* weights = out.mutable_data_ptr<float>() + i * count;
      const Row row = lowered_row(z, count, kind == Entmax::soft ? 0.5F : 1.0F);
      const float tau = threshold_of<kind>(row);
      for (int64_t j = 0; j < count; ++j) {
        const float over = std::max(row[size_t(j)] - tau, 0.0F);
        weights[j] = kind == Entmax::soft ? over * over : over;
      }
    }
  });
  return out;
}

bool goes_by_rows(const Tensor& scores) {
  return scores.is_cpu() && scores.scalar_type() == at::kFloat && scores.numel() > 0 &&
         !(at::GradMode::is_enabled() && scores.requires_grad());
}

/// Scores less their row's largest, and the same in descending order.
struct Ranked {
  Tensor scores, sorted;
  Tensor counts;  // (L): 1, 2, ...
};

Ranked ranked(const Tensor& scores, double factor) {
  const Tensor lowered = factor * (scores - scores.amax(-1, /*keepdim=*/true));
  const Tensor sorted = std::get<0>(lowered.sort(-1, /*descending=*/true));
  return {lowered, sorted, at::arange(1, scores.size(-1) + 1, scores.options())};
}

/// The threshold of the largest support: thresholds holds one for each support, of which `within`
/// says whether all of it lies above.
Tensor last_of(const Tensor& thresholds, const Tensor& within) {
  return thresholds.gather(-1, within.sum(-1, /*keepdim=*/true) - 1);
}

}  // namespace

Tensor entmax15(const Tensor& scores) {
  if (goes_by_rows(scores)) return by_rows<Entmax::soft>(scores);
  const Ranked own = ranked(scores, 0.5);
  const Tensor mean = own.sorted.cumsum(-1) / own.counts;
  const Tensor square = own.sorted.square().cumsum(-1) / own.counts;
  const Tensor spread = own.counts * (square - mean.square());
  const Tensor thresholds = mean - ((1 - spread) / own.counts).clamp_min(0).sqrt();
  return (own.scores - last_of(thresholds, thresholds <= own.sorted)).clamp_min(0).square();
}

Tensor sparsemax(const Tensor& scores) {
  if (goes_by_rows(scores)) return by_rows<Entmax::hard>(scores);
  const Ranked own = ranked(scores, 1);
  const Tensor excess = own.sorted.cumsum(-1) - 1;
  const Tensor threshold = last_of(excess / own.counts, own.counts * own.sorted > excess);
  return (own.scores - threshold).clamp_min(0);
}

}  // namespace tiller
