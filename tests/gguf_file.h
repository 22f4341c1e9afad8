#pragma once
/// Writes GGUF files, honest and other ones.
#include <ATen/ATen.h>

#include <cstring>
#include <fstream>

#include "io/tensor_file.h"

namespace tiller::test {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

inline std::string gguf_text(const std::string& text) { return raw(uint64_t(text.size())) + text; }

/// A key and its value, whose bytes are given.
inline std::string gguf_key(const std::string& key, uint32_t type, const std::string& value) {
  return gguf_text(key) + raw(type) + value;
}

/// A tensor's entry; `sizes` as GGUF has them, the fastest first.
inline std::string gguf_entry(const std::string& name, const std::vector<uint64_t>& sizes,
                              uint32_t type, uint64_t place) {
  std::string entry = gguf_text(name) + raw(uint32_t(sizes.size()));
  for (const uint64_t size : sizes) entry += raw(size);
  return entry + raw(type) + raw(place);
}

struct GgufParts {
  std::vector<std::string> keys, entries;
  std::string data;
  uint32_t version = 3;
};

inline std::string gguf_bytes(const GgufParts& parts, uint64_t alignment = 32) {
  std::string bytes = "GGUF" + raw(parts.version) + raw(uint64_t(parts.entries.size())) +
                      raw(uint64_t(parts.keys.size()));
  for (const auto& key : parts.keys) bytes += key;
  for (const auto& entry : parts.entries) bytes += entry;
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  return bytes + parts.data;
}

/// Blocks of Q8_0: of 32 values each a float16 scale, so that the largest is 127, and the values.
inline std::string q8_0_bytes(const Tensor& values) {
  if (values.numel() == 0) return "";
  const Tensor blocks = values.to(at::kFloat).reshape({-1, 32});
  const Tensor scales = (blocks.abs().amax(1, true) / 127).to(at::kHalf);
  const Tensor numbers = (blocks / scales.to(at::kFloat).clamp_min(1e-8)).round().to(at::kChar);
  const Tensor bytes = at::cat({scales.view(at::kChar), numbers}, 1);
  return {static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()};
}

/// As stable-diffusion.cpp converts: weights, but embeddings, whose rows are made of whole blocks
/// become Q8_0 (norms' too), others stay float32.
inline bool is_quantized_by_peer(const std::string& name, const Tensor& tensor) {
  return name.ends_with("weight") && name.find("embed") == name.npos &&
         name.find("label_emb") == name.npos && tensor.dim() > 0 && tensor.size(-1) % 32 == 0;
}

/// Float32 tensors as a GGUF file.
inline void save_gguf(const fs::path& path, const NamedTensors& tensors) {
  GgufParts parts;
  for (const auto& [name, tensor] : tensors) {
    const bool quantized = is_quantized_by_peer(name, tensor);
    const Tensor whole = tensor.to(at::kFloat).contiguous();
    std::vector<uint64_t> sizes(tensor.sizes().rbegin(), tensor.sizes().rend());
    parts.data.resize((parts.data.size() + 31) / 32 * 32);
    parts.entries.push_back(gguf_entry(name, sizes, quantized ? 8 : 0, parts.data.size()));
    parts.data +=
        quantized ? q8_0_bytes(whole)
                  : std::string(static_cast<const char*>(whole.const_data_ptr()), whole.nbytes());
  }
  std::ofstream(path, std::ios::binary) << gguf_bytes(parts);
}

}  // namespace tiller::test
