#include "models/attention.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cmath>

#include "io/parallel.h"
#include "models/instructions.h"
#include "models/kernels/bf16_attention.h"

namespace tiller {
namespace {

using kernels::Bf16Attention;
using kernels::Bf16Rows;

constexpr int64_t kMaxWidth = 512;
constexpr int64_t kMaxScores = int64_t{1} << 25;  ///< That weights are made of at a time.

/// Null where LibTorch's is to be taken. ATEN_CPU_CAPABILITY lowers what is used.
const Bf16Attention* kernel() {
  static const bool serves =
      at::get_cpu_capability() == "AVX512" && multiplies_bf16_pairs() && !multiplies_bf16_tiles();
  return serves ? kernels::bf16_attention() : nullptr;
}

uint16_t* bits(const Tensor& x) { return static_cast<uint16_t*>(x.data_ptr()); }

/// Row `row` of head `index` of (B, heads, N, d).
uint16_t* row_of(const Tensor& x, int64_t index, int64_t row) {
  const int64_t heads = x.size(1);
  return bits(x) + index / heads * x.stride(0) + index % heads * x.stride(1) + row * x.stride(2);
}

Bf16Rows rows_of(const Tensor& x, int64_t index, int64_t first = 0) {
  return {row_of(x, index, first), x.stride(2)};
}

bool fits(const Tensor& q, const Tensor& k, const Tensor& v) {
  for (const Tensor* x : {&q, &k, &v})
    if (!x->is_cpu() || x->scalar_type() != at::kBFloat16 || x->dim() != 4 || x->stride(3) != 1 ||
        x->size(0) != q.size(0) || x->size(1) != q.size(1) || x->size(3) != q.size(3))
      return false;
  const int64_t width = q.size(3);
  return width % 2 == 0 && width <= kMaxWidth && q.numel() > 0 && k.numel() > 0 &&
         k.size(2) == v.size(2);
}

/// Keys and values of every head as the kernel reads them.
struct Packed {
  Tensor keys, values;
};

Packed pack(const Bf16Attention& kernel, const Tensor& k, const Tensor& v) {
  const int64_t heads = k.size(0) * k.size(1), count = k.size(2), width = k.size(3);
  const Packed packed = {at::empty({heads, kernel.packed_keys(count, width)}, k.options()),
                         at::empty({heads, kernel.packed_values(count, width)}, k.options())};
  parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      kernel.pack(rows_of(k, i), rows_of(v, i), count, width,
                  bits(packed.keys) + i * packed.keys.size(1),
                  bits(packed.values) + i * packed.values.size(1));
  });
  return packed;
}

}  // namespace

Tensor bf16_attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const Bf16Attention* with = kernel();
  if (!with || !fits(q, k, v)) return {};
  const int64_t heads = q.size(1), count = q.size(2), width = q.size(3), keys = k.size(2);
  const Packed packed = pack(*with, k, v);
  // Heads beside each other, as the layer that reads this wants them.
  const Tensor out = at::empty({q.size(0), count, heads, width}, q.options()).transpose(1, 2);
  const int64_t blocks = (count + with->kQueries - 1) / with->kQueries;
  const auto scale = static_cast<float>(1 / std::sqrt(double(width)));
  parallel_for(0, q.size(0) * heads * blocks, 1, [&](int64_t begin, int64_t end) {
    const Tensor work = at::empty({with->workspace(width)}, at::TensorOptions(at::kFloat));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = i / blocks, first = i % blocks * with->kQueries;
      with->attend(rows_of(q, index, first), std::min(with->kQueries, count - first),
                   bits(packed.keys) + index * packed.keys.size(1),
                   bits(packed.values) + index * packed.values.size(1), keys, width, scale,
                   work.data_ptr<float>(), row_of(out, index, first), out.stride(2));
    }
  });
  return out;
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const bool gradients =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!gradients) {
    const Tensor answers = bf16_attention(q, k, v);
    return answers.defined() ? answers : at::scaled_dot_product_attention(q, k, v);
  }
  if (!q.is_cpu() || q.scalar_type() != at::kBFloat16)
    return at::scaled_dot_product_attention(q, k, v);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(at::DispatchKey::AutocastCPU);
  const auto real = [](const Tensor& x) { return x.to(at::kFloat); };
  return at::scaled_dot_product_attention(real(q), real(k), real(v)).to(at::kBFloat16);
}

Tensor attention_scores(const Tensor& q, const Tensor& k) {
  const double scale = 1 / std::sqrt(double(q.size(3)));
  return at::matmul(q.to(at::kFloat) * scale, k.to(at::kFloat).transpose(2, 3));
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const AttentionWeights* weights) {
  const Tensor scores = attention_scores(q, k);
  return weights ? (*weights)(scores) : scores.softmax(3);
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 const AttentionWeights* weights) {
  if (!weights) return attention(q, k, v);
  const int64_t rows = std::max<int64_t>(1, kMaxScores / (q.size(1) * q.size(2) * k.size(2)));
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < q.size(0); first += rows) {
    const auto own = [&](const Tensor& x) {
      return x.narrow(0, first, std::min(rows, x.size(0) - first));
    };
    const Tensor map = attention_weights(own(q), own(k), weights);
    parts.push_back(at::matmul(map, own(v).to(at::kFloat)).to(v.scalar_type()));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace tiller
