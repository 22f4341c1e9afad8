#include "models/packed_conv.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <atomic>

#include "models/gradients.h"
#include "models/operation.h"
#include "models/products.h"
#include "models/winograd_conv.h"

namespace tiller {
namespace {

std::atomic<bool> keep_large = true;

using Scalars = c10::List<std::optional<at::Scalar>>;
using Convolution = Tensor(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                           at::IntArrayRef padding, at::IntArrayRef stride,
                           at::IntArrayRef dilation, int64_t groups, std::string_view activation,
                           Scalars, std::optional<std::string_view> algorithm);

/// LibTorch's convolution of packed weights; null where it was built without oneDNN.
const std::optional<c10::TypedOperatorHandle<Convolution>>& packed_convolution() {
  static const auto found = []() -> std::optional<c10::TypedOperatorHandle<Convolution>> {
    const auto handle =
        c10::Dispatcher::singleton().findSchema({"mkldnn::_convolution_pointwise", ""});
    if (!handle || !at::globalContext().userEnabledMkldnn()) return {};
    return handle->typed<Convolution>();
  }();
  return found;
}

bool packable_conv(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto dtype = weight.scalar_type();
  const bool known = dtype == at::kFloat || dtype == at::kBFloat16 || is_widened(dtype);
  return x.is_cpu() && weight.is_cpu() && x.scalar_type() == dtype && known &&
         !wants_gradients({x, weight, bias}) && x.numel() > 0 && weight.size(2) > 1;
}

bool affordable(const Tensor& weight) { return weight.numel() <= kSmallWeight || keep_large; }

}  // namespace

void keep_packed_weights(bool keep) { keep_large = keep; }

Tensor PackedConv::operator()(const Tensor& x, const Tensor& weight, const Tensor& bias,
                              int64_t stride, int64_t padding) const {
  if (!packable_conv(x, weight, bias) || !affordable(weight)) return {};
  const std::array<int64_t, 2> steps = {stride, stride}, border = {padding, padding}, one = {1, 1};
  const bool winograd = winograd_serves(x, weight, stride, padding);
  if (!winograd && (is_widened(weight.scalar_type()) || !packed_convolution())) return {};
  const Tensor packed = packed_(weight, winograd, [&] {
    if (winograd) return winograd_weight(weight);
    const Tensor plain = weight.detach().contiguous().to_mkldnn();
    return at::mkldnn_reorder_conv2d_weight(plain, border, steps, one, 1, x.sizes());
  });
  if (winograd) return winograd_conv(x, packed, bias, weight.size(0));
  return packed_convolution()->call(x, packed, present(bias), border, steps, one, 1, "none",
                                    Scalars(), "");
}

}  // namespace tiller
