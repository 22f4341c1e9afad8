#include "models/spine.h"

#include <ATen/ATen.h>

#include "models/feature_memory.h"

namespace tiller {

Tensor with_skip(const Rows& rows, const SkipPlace& place, const Tensor& x, Skips& skips) {
  const Tensor skip = rows.expand(skips.back());
  skips.pop_back();
  if (!rows.altered().skips) return at::cat({x, skip}, 1);
  const auto [from_below, beside] = (*rows.altered().skips)(place, x, skip);
  return at::cat({from_below, beside}, 1);
}

Tensor run_spine(const Spine& spine, Rows& rows, Tensor x) {
  FeatureMemory* memory = rows.options().memory;
  const size_t shallow = memory ? memory->shallow(spine.skips) : spine.skips;
  Skips skips;
  const auto descend = [&](size_t until) {
    while (skips.size() < until) skips.push_back(x = spine.down(skips.size(), x));
  };
  const auto ascend = [&](size_t until) {
    while (skips.size() > until) x = spine.up(spine.skips - skips.size(), x, skips);
  };
  const auto deep = [&] {
    descend(spine.skips);
    x = spine.middle(x, skips);
    ascend(shallow);
    return x;
  };
  descend(shallow);
  x = memory ? memory->recall_or(rows, skips, deep) : deep();
  ascend(0);
  return x;
}

}  // namespace tiller
