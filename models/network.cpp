#include "models/network.h"

#include <ATen/ATen.h>

namespace tiller {

Answers evaluate(const Network& network, const Tensor& x, const Tensor& t,
                 std::span<const Branch> branches, bool share, FeatureMemory* memory,
                 PromptMemory* prompts) {
  Rows rows(branches, x.size(0), {.share = share, .memory = memory, .prompts = prompts});
  const Tensor output = network.forward(x, t, rows);
  return {rows.outputs(output), rows.flops()};
}

}  // namespace tiller
