#include "samplers/triangular_anderson.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

/// Of the least squares, in units of their mean square: keeps points that have converged solvable.
constexpr double point_ridge = 1e-6, least_ridge = 1e-30;

Tensor stacked(std::span<const Tensor> points) {
  std::vector<Tensor> flat;
  for (const auto& point : points) flat.push_back(point.flatten(1).to(at::kDouble));
  return at::stack(flat);
}

}  // namespace

/// From each sweep to the next, the latest first, for the points of the last sweep.
struct TriangularAnderson::Differences {
  std::vector<Tensor> points, residuals;  ///< (P, B, n); zero where a sweep lacked the point.
  Tensor known;                           ///< (P, differences), 1 where it didn't.
};

TriangularAnderson::Differences TriangularAnderson::differences() const {
  const Sweep& now = past_.back();
  Differences all;
  std::vector<Tensor> known;
  for (size_t i = past_.size() - 1; i > 0; --i) {
    const Sweep &later = past_[i], &earlier = past_[i - 1];
    const int count = std::min(now.end(), earlier.end()) - now.first;
    const auto of = [&](Tensor Sweep::*part) {
      const auto taken = [&](const Sweep& sweep) {
        return (sweep.*part).narrow(0, now.first - sweep.first, count);
      };
      const Tensor difference = at::zeros_like(now.points);
      difference.narrow(0, 0, count).copy_(taken(later) - taken(earlier));
      return difference;
    };
    if (count <= 0) break;
    all.points.push_back(of(&Sweep::points));
    all.residuals.push_back(of(&Sweep::residuals));
    known.push_back(at::arange(now.points.size(0), now.points.options()).lt(count));
  }
  if (!known.empty()) all.known = at::stack(known, 1).to(at::kDouble);
  return all;
}

std::vector<Tensor> TriangularAnderson::corrections(int first, std::span<const Tensor> points,
                                                    std::span<const Tensor> images) {
  const Tensor before = stacked(points);
  past_.push_back({first, before, stacked(images) - before});
  if (past_.size() > memory_) past_.pop_front();
  std::vector<Tensor> result(points.size());
  const Differences all = differences();
  if (all.points.empty()) return result;
  const Tensor residuals = at::stack(all.residuals, 2);  // (P, B, m, n)
  const Tensor known = all.known.unsqueeze(1).unsqueeze(3);
  Tensor normal = at::matmul(residuals, residuals.transpose(2, 3)).cumsum(0);
  Tensor right = at::matmul(residuals, past_.back().residuals.unsqueeze(3)).cumsum(0) * known;
  normal = normal * known * known.transpose(2, 3);
  const Tensor mean = normal.diagonal(0, 2, 3).mean(2).unsqueeze(2).unsqueeze(3);
  normal = normal + (point_ridge * mean + least_ridge) * at::eye(normal.size(2), normal.options());
  const Tensor weights = at::linalg_solve(normal, right);  // (P, B, m, 1)
  const Tensor sums = at::stack(all.points, 2) + residuals;
  const Tensor taken = (sums * weights).sum(2);
  for (size_t i = 0; i < points.size(); ++i)
    result[i] = taken[int64_t(i)].view(points[i].sizes()).to(points[i].scalar_type());
  return result;
}

}  // namespace tiller
