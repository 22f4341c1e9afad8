#include "metrics/features.h"

#include <ATen/ATen.h>

#include <sstream>

#include "io/error.h"

namespace tiller {
namespace {

/// NaN is both the least and the greatest, so no copy of the features is needed.
bool finite(const Tensor& features) {
  if (features.numel() == 0) return true;
  const auto [least, greatest] = at::aminmax(features);
  return at::isfinite(least).item<bool>() && at::isfinite(greatest).item<bool>();
}

}  // namespace

void check_features(const Tensor& features, const char* what, int64_t smallest) {
  std::ostringstream found;
  if (features.dim() != 2 || !features.is_floating_point()) {
    found << what << ": got " << features.scalar_type() << " of shape " << features.sizes()
          << ", expected floating point (images, width).";
  } else if (features.size(0) < smallest) {
    found << what << ": got those of " << features.size(0) << " images, expected at least "
          << smallest << ".";
  } else if (!finite(features)) {
    found << what << ": got infinite values or NaN, expected finite ones. Does the network overflow"
          << " in half precision?";
  }
  if (!found.str().empty()) throw Error(found.str());
}

void check_features(const Tensor& a, const Tensor& b, int64_t smallest) {
  check_features(a, "generated features", smallest);
  check_features(b, "reference features", smallest);
  if (a.size(1) != b.size(1))
    throw Error("features: got the widths " + std::to_string(a.size(1)) + " and " +
                std::to_string(b.size(1)) + ", expected the same. Are they of the same network?");
}

}  // namespace tiller
