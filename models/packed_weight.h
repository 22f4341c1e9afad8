#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <memory>

namespace tiller {
using at::Tensor;

/// A weight in an order that a kernel reads faster, kept from one evaluation to the next. Made when
/// it is first asked for, and again when the weight has changed. Two forms of it may be kept.
class PackedWeight {
 public:
  /// pack(), or what it returned last.
  Tensor operator()(const Tensor& weight, bool other_form,
                    const std::function<Tensor()>& pack) const;

 private:
  struct Packed {
    Tensor weight;
    const void* of;    ///< The plain weight's values,
    uint32_t version;  ///< and how often they had been written.
  };
  mutable std::array<std::shared_ptr<const Packed>, 2> packed_;  ///< By form.
};

}  // namespace tiller
