#include "metrics/moments.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "metrics/features.h"

namespace tiller {
namespace {

[[noreturn]] void refuse_widths(int64_t found, int64_t expected) {
  throw Error("features: got the width " + std::to_string(found) + ", expected " +
              std::to_string(expected) + ". Are they of the same network?");
}

bool finite(const Moments& moments) {
  return at::isfinite(moments.mean).all().item<bool>() &&
         at::isfinite(moments.covariance).all().item<bool>();
}

}  // namespace

MomentSum::MomentSum(int64_t width) : MomentSum(at::zeros({width}, at::kDouble)) {}

MomentSum::MomentSum(const Tensor& origin)
    : origin_(origin.to(at::kCPU, at::kDouble)),
      sums_(at::zeros({origin.size(0) + 1, origin.size(0) + 1}, at::kDouble)) {}

int64_t MomentSum::count() const { return sums_[0][0].item<int64_t>(); }

void MomentSum::add(const Tensor& features) {
  check_features(features, "features", 0);
  if (features.size(1) != width()) refuse_widths(features.size(1), width());
  const Tensor shifted = features.to(at::kCPU, at::kDouble) - origin_;
  const Tensor rows = at::cat({at::ones({shifted.size(0), 1}, at::kDouble), shifted}, 1);
  sums_.addmm_(rows.t(), rows);
}

void MomentSum::merge(const MomentSum& other) {
  if (other.width() != width()) refuse_widths(other.width(), width());
  if (!at::equal(other.origin_, origin_))
    throw Error("sums of features: got two origins, expected the same in all parts.");
  sums_.add_(other.sums_);
}

Moments MomentSum::moments() const {
  const double n = sums_[0][0].item<double>();
  if (n < 2)
    throw Error("statistics: got " + std::to_string(count()) +
                " images, expected at least 2: a covariance needs as many.");
  const Tensor mean = sums_[0].slice(0, 1) / n;
  const Tensor outer = sums_.slice(0, 1).slice(1, 1);
  return {count(), origin_ + mean, (outer - n * at::outer(mean, mean)) / (n - 1)};
}

Moments moments_of(const Tensor& features) {
  check_features(features, "features", 2);
  constexpr int64_t block = 4096;
  MomentSum sum(features.slice(0, 0, block).to(at::kCPU, at::kDouble).mean(0));
  for (const Tensor& rows : features.split(block)) sum.add(rows);
  return sum.moments();
}

void check_comparable(const Moments& a, const Moments& b) {
  if (a.width() != b.width()) refuse_widths(a.width(), b.width());
  if (!finite(a) || !finite(b))
    throw Error("statistics: got infinite values or NaN, expected finite ones.");
}

}  // namespace tiller
