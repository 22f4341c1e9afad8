/// LibTorch's C++ side has no rules for the shapes of some operations on the meta
/// device. With these, tests count the operations of full-size networks without computing anything.
#include <ATen/ATen.h>
#include <torch/library.h>

namespace tiller::test {
namespace {

at::Tensor convolution_shape(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>&, at::IntArrayRef stride,
                             at::IntArrayRef padding, at::IntArrayRef dilation, bool,
                             at::IntArrayRef, int64_t) {
  std::vector<int64_t> shape = {x.size(0), weight.size(0)};
  for (int64_t d = 0; d < x.dim() - 2; ++d) {
    const int64_t reach = dilation[d] * (weight.size(d + 2) - 1);
    shape.push_back((x.size(d + 2) + 2 * padding[d] - reach - 1) / stride[d] + 1);
  }
  return at::empty(shape, x.options());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> group_norm_shape(const at::Tensor& x,
                                                                const std::optional<at::Tensor>&,
                                                                const std::optional<at::Tensor>&,
                                                                int64_t rows, int64_t, int64_t,
                                                                int64_t groups, double) {
  const at::Tensor sums = at::empty({rows, groups}, x.options());
  return {at::empty(x.sizes(), x.options()), sums, sums};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> layer_norm_shape(const at::Tensor& x,
                                                                at::IntArrayRef,
                                                                const std::optional<at::Tensor>&,
                                                                const std::optional<at::Tensor>&,
                                                                double) {
  const at::Tensor sums = at::empty(x.sizes().slice(0, x.dim() - 1), x.options());
  return {at::empty(x.sizes(), x.options()), sums, sums};
}

at::Tensor softmax_shape(const at::Tensor& x, int64_t, std::optional<at::ScalarType>) {
  return at::empty(x.sizes(), x.options());
}

at::Tensor relu_shape(const at::Tensor& x) { return at::empty(x.sizes(), x.options()); }

at::Tensor index_select_shape(const at::Tensor& x, int64_t dim, const at::Tensor& index) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(dim)] = index.numel();
  return at::empty(shape, x.options());
}

}  // namespace
}  // namespace tiller::test

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("convolution_overrideable", tiller::test::convolution_shape);
  library.impl("native_group_norm", tiller::test::group_norm_shape);
  library.impl("native_layer_norm", tiller::test::layer_norm_shape);
  library.impl("_safe_softmax", tiller::test::softmax_shape);
  library.impl("relu", tiller::test::relu_shape);
  library.impl("index_select", tiller::test::index_select_shape);
}
