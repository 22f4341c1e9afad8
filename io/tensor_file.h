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
  std::map<std::string, std::string> metadata;  ///< safetensors only.
};

/// Loads .safetensors (mapped) or a PyTorch pickle (.pt, .pth, .ckpt, .th; through LibTorch's
/// restricted unpickler), told apart by content. In pickles a nested `state_dict` is opened,
/// several dicts side by side give "DICT.NAME", and what isn't a tensor is left out. Throws Error
/// naming the file when it is neither, damaged or empty.
TensorFile load_tensors(const fs::path&);

}  // namespace tiller
