#include "models/joined_linear.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "models/gradients.h"

namespace tiller {
namespace {

bool joinable(const Tensor& x, const std::vector<const Linear*>& layers) {
  const Tensor& first = layers.front()->weight;
  return x.is_cuda() && std::all_of(layers.begin(), layers.end(), [&](const Linear* layer) {
           const Tensor& weight = layer->weight;
           return !layer->bias.defined() && !layer->fp8.wanted() && weight.dim() == 2 &&
                  weight.size(1) == first.size(1) && weight.options().type_equal(first.options()) &&
                  !wants_gradients({x, weight});
         });
}

/// Whether each weight begins where the one before ends, in one piece of memory.
bool side_by_side(const std::vector<const Linear*>& layers) {
  const Tensor& first = layers.front()->weight;
  int64_t next = first.storage_offset();
  for (const Linear* layer : layers) {
    const Tensor& weight = layer->weight;
    if (!weight.is_contiguous() || !weight.is_alias_of(first) || weight.storage_offset() != next)
      return false;
    next += weight.numel();
  }
  return true;
}

void put_side_by_side(const std::vector<const Linear*>& layers) {
  // The whole is of the parts' kind: a part keeps its own version counter, which tensors of
  // inference mode haven't got and views of others read.
  const c10::InferenceMode as_they_are(layers.front()->weight.is_inference());
  const at::NoGradGuard no_gradients;
  std::vector<Tensor> weights;
  for (const Linear* layer : layers) weights.push_back(layer->weight.detach());
  const Tensor all = at::cat(weights);
  int64_t row = 0;
  for (const Linear* layer : layers) {
    const int64_t out = layer->weight.size(0);
    layer->weight.set_data(all.narrow(0, row, out));
    row += out;
  }
}

int64_t rows_of(const std::vector<const Linear*>& layers) {
  int64_t rows = 0;
  for (const Linear* layer : layers) rows += layer->weight.size(0);
  return rows;
}

}  // namespace

Tensor joined_weight(const std::vector<const Linear*>& layers) {
  if (!side_by_side(layers)) put_side_by_side(layers);
  const Tensor& first = layers.front()->weight;
  const int64_t in = first.size(1);
  return first.as_strided({rows_of(layers), in}, {in, 1});
}

std::vector<Tensor> apply_joined(Rows& rows, const Tensor& x,
                                 const std::vector<const Linear*>& layers) {
  std::vector<Tensor> results;
  if (!joinable(x, layers)) {
    for (const Linear* layer : layers) results.push_back((*layer)(rows, x));
    return results;
  }
  rows.count(2.0 * x.numel() * rows_of(layers), x.size(0));
  const Tensor all = at::linear(x, joined_weight(layers));
  std::vector<int64_t> sizes;
  for (const Linear* layer : layers) sizes.push_back(layer->weight.size(0));
  return at::split_with_sizes(all, sizes, -1);
}

}  // namespace tiller
