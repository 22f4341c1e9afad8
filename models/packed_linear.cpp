#include "models/packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <atomic>

#include "models/gradients.h"
#include "models/operation.h"

namespace tiller {
namespace {

/// Values of a weight that isn't worth packing: oneDNN writes its kernels at the first product.
constexpr int64_t small_weight = 1 << 16;

std::atomic<bool> keep_linears = true;

using Scalars = c10::List<std::optional<at::Scalar>>;
using Product = Tensor(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                       std::string_view activation, Scalars,
                       std::optional<std::string_view> algorithm);
using Packing = Tensor(const Tensor& weight, std::optional<int64_t> rows);

struct Operators {
  c10::TypedOperatorHandle<Product> product;
  c10::TypedOperatorHandle<Packing> pack;
};

/// LibTorch's products of packed weights; none where it was built without oneDNN or would use other
/// kernels.
const std::optional<Operators>& operators() {
  static const auto found = []() -> std::optional<Operators> {
    auto& all = c10::Dispatcher::singleton();
    const auto product = all.findSchema({"mkldnn::_linear_pointwise", ""});
    const auto pack = all.findSchema({"mkldnn::_reorder_linear_weight", ""});
    const bool usable =
        at::globalContext().userEnabledMkldnn() && at::get_cpu_capability() == "AVX512";
    if (!product || !pack || !usable) return {};
    return Operators{product->typed<Product>(), pack->typed<Packing>()};
  }();
  return found;
}

bool packable_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return x.is_cpu() && weight.is_cpu() && x.scalar_type() == at::kFloat &&
         weight.scalar_type() == at::kFloat && x.dim() == 3 && x.size(1) > 1 && x.numel() > 0 &&
         x.size(2) == weight.size(1) && !wants_gradients({x, weight, bias}) &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

}  // namespace

void keep_packed_linears(bool kept) { keep_linears = kept; }

Tensor PackedLinear::operator()(const Tensor& x, const Tensor& weight, const Tensor& bias) const {
  const bool kept = wanted_ && keep_linears && weight.numel() > small_weight;
  if (!kept || !packable_linear(x, weight, bias) || !operators()) return {};
  const Tensor packed = packed_(weight, false, [&] {
    return operators()->pack.call(weight.detach().flatten(1), std::nullopt);
  });
  return operators()->product.call(x, packed, present(bias), "none", Scalars(), "");
}

}  // namespace tiller
