#include "models/packed_weight.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

uint32_t version_of(const Tensor& weight) {
  const auto& counter = weight.unsafeGetTensorImpl()->version_counter();
  return counter.enabled() ? counter.current_version() : 0;
}

}  // namespace

Tensor PackedWeight::operator()(const Tensor& weight, bool other_form,
                                const std::function<Tensor()>& pack) const {
  auto& kept = packed_[other_form];
  auto packed = kept;
  const uint32_t version = version_of(weight);
  if (packed && packed->of == weight.const_data_ptr() && packed->version == version)
    return packed->weight;
  kept.reset();
  packed.reset();
  packed = kept = std::make_shared<const Packed>(Packed{pack(), weight.const_data_ptr(), version});
  return packed->weight;
}

}  // namespace tiller
