#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// Names and tensors, in the order of the file.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// What a file of weights holds.
struct TensorFile {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;  ///< Of safetensors and GGUF.
};

/// Loads .safetensors or .gguf (mapped) or a PyTorch pickle (.pt, .pth, .ckpt, .th; through
/// LibTorch's restricted unpickler), told apart by content. In pickles a nested `state_dict` is
/// opened, several dicts side by side give "DICT.NAME", and what isn't a tensor is left out.
/// Quantized tensors become float32. Throws Error naming the file when it is none of these, damaged
/// or empty.
TensorFile load_tensors(const fs::path&);

/// The same, but quantized tensors stay so until `dequantized` (quantized.h) reads them, which
/// takes no more memory than what they become: for those who only look at shapes, or go through
/// Weights.
TensorFile map_tensors(const fs::path&);

}  // namespace tiller
