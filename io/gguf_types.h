#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace tiller {

/// A type of tensor that GGUF files hold, as ggml numbers and names them (ggml.h, enum ggml_type).
struct GgmlType {
  uint32_t id;
  const char* name;
  at::ScalarType dtype;  ///< Undefined: quantized, in blocks.
  int64_t block = 1;     ///< Values of a block.
  int64_t bytes = 0;     ///< Of a block.
  /// The values of `count` blocks; null for types that aren't quantized.
  void (*decode)(const uint8_t* blocks, int64_t count, float* values) = nullptr;
};

/// The type of this number; null where it isn't one that is read here.
const GgmlType* ggml_type(uint32_t id);

/// "type Q8_1" or "type number 77", for messages about those that aren't.
std::string ggml_type_text(uint32_t id);

/// The names of all that are read.
std::string ggml_type_names();

}  // namespace tiller
