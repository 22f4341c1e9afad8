#include "guidance/sinkhorn.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>

#include "models/gradients.h"
#include "models/operation.h"

namespace tiller {
namespace {

Tensor transposed(const Tensor& x) { return x.transpose(-2, -1); }

/// (B, heads, N, d) to (B, heads, N, D): x, the columns given, and zeros up to a multiple of 8,
/// which the CUDA kernels ask for.
Tensor with_columns(const Tensor& x, std::vector<Tensor> columns) {
  std::vector<Tensor> parts = {x};
  for (const Tensor& column : columns) parts.push_back(column.unsqueeze(3).to(x.scalar_type()));
  const int64_t width = x.size(3) + static_cast<int64_t>(columns.size());
  return at::constant_pad_nd(at::cat(parts, 3), {0, (8 - width % 8) % 8});
}

/// LSE_j(q_i . k_j): (B, heads, N).
Tensor log_sum_exp(const Tensor& q, const Tensor& k) {
  if (q.is_cuda())
    return std::get<1>(
               at::_scaled_dot_product_efficient_attention(q, k, k, {}, true, 0, false, 1.0))
        .narrow(2, 0, q.size(2));
  return at::logsumexp(at::matmul(q, transposed(k)), -1);
}

/// -LSE_j(q_i . k_j + potential_j). A column of ones beside the queries and the potential beside
/// the keys make it a plain attention's LSE.
Tensor update(const Tensor& q, const Tensor& k, const Tensor& potential) {
  const Tensor one = at::ones_like(potential);
  return -log_sum_exp(with_columns(q, {one}), with_columns(k, {potential}));
}

Tensor flash_potentials(const Tensor& q, const Tensor& k, int64_t iterations) {
  const Tensor rows = q.to(at::kFloat) * (-1 / std::sqrt(double(q.size(3))));
  const Tensor columns = k.to(at::kFloat);
  Tensor g = at::zeros(k.sizes().slice(0, 3), columns.options());
  for (int64_t i = 0; i < iterations; ++i) g = update(columns, rows, update(rows, columns, g));
  return g;
}

}  // namespace

Tensor dense_sinkhorn_potentials(const Tensor& q, const Tensor& k, int64_t iterations) {
  const Tensor rows = q.to(at::kFloat) * (-1 / std::sqrt(double(q.size(3))));
  const Tensor s = at::matmul(rows, transposed(k.to(at::kFloat)));
  Tensor g = at::zeros(k.sizes().slice(0, 3), s.options());
  for (int64_t i = 0; i < iterations; ++i) {
    const Tensor f = -at::logsumexp(s + g.unsqueeze(2), 3);
    g = -at::logsumexp(s + f.unsqueeze(3), 2);
  }
  return g;
}

Tensor sinkhorn_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g) {
  const bool real = q.scalar_type() == at::kFloat && g.scalar_type() == at::kFloat;
  if (q.is_cpu() && real && !wants_gradients({q, k, v}) && q.numel() > 0)
    return sinkhorn_attention_cpu(q, k, v, g);
  const double scale = 1 / std::sqrt(double(q.size(3)));
  // Logits are scaled after the product, and rows of a softmax don't feel a shift.
  const Tensor potential = (g - g.mean(2, true)) / scale;
  const Tensor high = potential.to(k.scalar_type());
  const Tensor low = potential - high.to(at::kFloat);  // what half precision loses
  const Tensor one = at::ones_like(potential), none = at::zeros_like(potential);
  return at::scaled_dot_product_attention(with_columns(-q, {one, one}),
                                          with_columns(k, {high, low}),
                                          with_columns(v, {none, none}), {}, 0, false, scale)
      .narrow(3, 0, v.size(3));
}

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def("sinkhorn_potentials(Tensor q, Tensor k, int iterations) -> Tensor");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("sinkhorn_potentials", flash_potentials);
}

Tensor sinkhorn_potentials(const Tensor& q, const Tensor& k, int64_t iterations) {
  static const auto kernel =
      operation<Tensor(const Tensor&, const Tensor&, int64_t)>("tiller::sinkhorn_potentials");
  return kernel.call(q, k, iterations);
}

}  // namespace tiller
