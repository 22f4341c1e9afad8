#pragma once
/// Tensors that tests compute themselves: as tests/reference/formula.py does.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>

#include "io/tensor_file.h"
#include "tests/fixture.h"

namespace tiller::test {

inline uint32_t crc_of(const std::string& text) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

/// Numbers in [-1, 1): value i is a hash of i and the name.
inline Tensor formula_tensor(const std::string& name, at::IntArrayRef shape) {
  const Tensor result = at::empty(shape, at::kFloat);
  const uint32_t start = crc_of(name);
  float* values = result.data_ptr<float>();
  for (uint32_t i = 0; i < result.numel(); ++i) {
    uint32_t u = i * 2654435761u + start;
    u ^= u >> 16;
    u *= 2246822519u;
    u ^= u >> 13;
    u *= 3266489917u;
    u ^= u >> 16;
    values[i] = static_cast<float>((u >> 8) / 8388608.0 - 1);
  }
  return result;
}

/// A weight: of variance 1 / fan_in, around 1 for normalisations' scales, small for biases.
inline Tensor formula_weight(const std::string& name, at::IntArrayRef shape) {
  const Tensor values = formula_tensor(name, shape);
  if (shape.size() == 1) return 0.125 * values + (name.ends_with("weight") ? 1 : 0);
  const auto fan_in = static_cast<float>(values.numel() / shape[0]);
  return values * static_cast<double>(std::sqrt(3.f / fan_in));
}

inline void fill_by_formula(const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) tensor.copy_(formula_weight(name, tensor.sizes()));
}

/// CRC-32 of the tensors' names and shapes, in their order.
inline uint32_t digest_of(const NamedTensors& tensors) {
  std::string lines;
  for (const auto& [name, tensor] : tensors) {
    lines += name + " [";
    for (int64_t d = 0; d < tensor.dim(); ++d)
      lines += (d ? ", " : "") + std::to_string(tensor.size(d));
    lines += "]\n";
  }
  return crc_of(lines);
}

/// Number of tensors, of elements, and digest in the order of the names.
inline Json inventory_of(NamedTensors tensors) {
  const auto by_name = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(tensors.begin(), tensors.end(), by_name);
  int64_t elements = 0;
  for (const auto& [name, tensor] : tensors) elements += tensor.numel();
  return {tensors.size(), elements, digest_of(tensors)};
}

/// The largest difference in units of the largest expected value.
inline double relative_error(const Tensor& got, const Tensor& expected) {
  const Tensor difference = got.to(at::kDouble).flatten() - expected.to(at::kDouble).flatten();
  return difference.abs().max().item<double>() / expected.abs().max().item<double>();
}

}  // namespace tiller::test
