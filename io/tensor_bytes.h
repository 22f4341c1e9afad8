#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace tiller {
using at::Tensor;

/// Tensors as the bytes that another process of this program reads: (bytes) uint8 on the CPU.
Tensor packed(const std::vector<Tensor>&);

/// The inverse: tensors that share the bytes, which may go on behind them. Throws Error where they
/// are cut off.
std::vector<Tensor> unpacked(const Tensor& bytes);

}  // namespace tiller
