#pragma once
#include <map>

#include "io/tensor_file.h"

namespace tiller {

/// Where a tensor's bytes lie, counted from the end of the header.
struct SafetensorsEntry {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< In the order of their bytes.
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  ///< In the file.
};

/// Validates the header before any tensor byte is read: header size, JSON depth, duplicate names,
/// dtypes, sizes without overflow, offsets in order without overlap, gap or trailing bytes.
/// Throws Error naming `file`, what was found and what was expected.
SafetensorsHeader parse_safetensors(std::span<const std::byte> bytes, const std::string& file);

/// Tensors that lie in a mapping of the file, which lives as long as any of them (misaligned ones
/// are copied). Writing to them in place never reaches the file.
TensorFile load_safetensors(const fs::path&);

/// Writes contiguous CPU copies, under a temporary name first; wider dtypes first, else in the
/// given order, so that every tensor is aligned. The same tensors give the same bytes. Throws Error
/// on repeated names and on dtypes that the format lacks.
void save_safetensors(const fs::path&, const NamedTensors&,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace tiller
