#pragma once
#include "tests/models/formula.h"
#include "tests/tools/program.h"

namespace tiller::test {

/// A CIFAR ResNet of random weights, for --features cifar-resnet:weights=FILE.
inline void save_random_resnet(const fs::path& file) {
  NamedTensors weights;
  const Json shapes = fixture("features.json").at("resnet").at("shapes");
  for (const auto& [name, dims] : shapes.items()) {
    if (name.ends_with("num_batches_tracked")) continue;
    const auto shape = dims.get<std::vector<int64_t>>();
    weights.emplace_back(name, name.ends_with("running_var")
                                   ? 1 + 0.125 * formula_tensor(name, shape)
                                   : formula_weight(name, shape));
  }
  save_safetensors(file, weights);
}

}  // namespace tiller::test
