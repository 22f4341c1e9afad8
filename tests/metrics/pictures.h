#pragma once
/// The pictures of tests/reference/make_reconstruction.py.
#include "tests/models/formula.h"

namespace tiller::test {

/// (3, H, W) uint8: blocks of 5 pixels with a little noise.
inline Tensor picture(const std::string& name, int64_t height, int64_t width) {
  const Tensor blocks = formula_tensor(name, {(height + 4) / 5, (width + 4) / 5, 3})
                            .repeat_interleave(5, 0)
                            .repeat_interleave(5, 1)
                            .slice(0, 0, height)
                            .slice(1, 0, width);
  const Tensor noise = formula_tensor(name + " noise", {height, width, 3});
  return (blocks * 100 + noise * 20 + 128)
      .clamp(0, 255)
      .to(at::kByte)
      .permute({2, 0, 1})
      .contiguous();
}

inline Tensor picture_of(const Json& test) {
  return picture(test.at("name"), test.at("height"), test.at("width"));
}

/// Tensors of formula weights with these names and shapes.
inline NamedTensors formula_tensors(const Json& shapes) {
  NamedTensors tensors;
  for (const auto& [name, shape] : shapes.items())
    tensors.emplace_back(name, formula_weight(name, shape.get<std::vector<int64_t>>()));
  return tensors;
}

}  // namespace tiller::test
