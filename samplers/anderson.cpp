#include "samplers/anderson.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

/// Of the least squares, in units of their mean square: keeps rows that have converged solvable.
constexpr double ridge = 1e-10, least = 1e-30;

}  // namespace

Tensor AndersonMixing::next(const Tensor& guess, const Tensor& image) {
  const Tensor flat = image.flatten(1).to(at::kDouble);
  past_.push_back({flat, flat - guess.flatten(1)});
  if (past_.size() > memory_) past_.pop_front();
  if (past_.size() == 1) return image;
  const Past& now = past_.back();
  std::vector<Tensor> images, residuals;
  for (size_t i = 1; i < past_.size(); ++i) {
    images.push_back(past_[i].image - past_[i - 1].image);
    residuals.push_back(past_[i].residual - past_[i - 1].residual);
  }
  const Tensor differences = at::stack(residuals, 2);  // (B, n, m)
  Tensor normal = at::bmm(differences.transpose(1, 2), differences);
  const Tensor mean = normal.diagonal(0, 1, 2).mean(1).view({-1, 1, 1});
  normal = normal + (ridge * mean + least) * at::eye(normal.size(1), normal.options());
  const Tensor right = at::bmm(differences.transpose(1, 2), now.residual.unsqueeze(2));
  const Tensor weights = at::linalg_solve(normal, right);
  const Tensor mixed = now.image - at::bmm(at::stack(images, 2), weights).squeeze(2);
  return mixed.to(image.scalar_type()).view(image.sizes());
}

}  // namespace tiller
