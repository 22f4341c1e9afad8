#pragma once
#include "io/gguf_types.h"
#include "io/tensor_file.h"

namespace tiller {

/// A tensor of a GGUF file; its bytes are counted from where the data begins.
struct GgufEntry {
  std::string name;
  const GgmlType* type = nullptr;
  std::vector<int64_t> shape;  ///< As PyTorch counts: the fastest dimension last.
  uint64_t begin = 0, end = 0;
};

struct GgufHeader {
  std::vector<GgufEntry> entries;  ///< In the order of their bytes.
  /// Values as text, of lists the first few. What says the shapes of entries isn't kept.
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  ///< In the file.
};

/// Validates the header (little-endian, versions 2 and 3; ggml's docs/gguf.md) before any tensor
/// byte is read: counts and lengths that the file has room for, types, sizes without overflow,
/// whole blocks, duplicate names, data in order, aligned, without overlap or gap and within the
/// file. Takes ComfyUI-GGUF's comfy.gguf.orig_shape.NAME for the shape of a tensor that was stored
/// in another. Throws Error naming `file`, what was found and what was expected.
GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& file);

/// Tensors that lie in a mapping of the file; quantized ones as quantized.h holds them.
TensorFile load_gguf(const fs::path&);

}  // namespace tiller
