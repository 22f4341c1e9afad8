#include "io/gguf.h"

#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/error.h"
#include "io/quantized.h"

namespace {

/// A file in memory with these bytes.
struct MemoryFile {
  int number = ::memfd_create("fuzz", 0);
  explicit MemoryFile(std::span<const std::byte> bytes) {
    if (::write(number, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }
  ~MemoryFile() { ::close(number); }
  tiller::fs::path path() const { return "/proc/self/fd/" + std::to_string(number); }
};

}  // namespace

/// Any bytes are refused with one line, or describe tensors that lie within them, whose every value
/// can be read.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto header = tiller::parse_gguf(bytes, "x.gguf");
    for (const auto& entry : header.entries)
      if (entry.end < entry.begin ||
          (entry.end > 0 && (header.data_offset > size || entry.end > size - header.data_offset)))
        std::abort();
    const MemoryFile file(bytes);
    for (const auto& [name, tensor] : tiller::load_gguf(file.path()).tensors)
      if (tensor.numel() > 0) tiller::dequantized(tensor).to(at::kDouble).sum().item<double>();
  } catch (const tiller::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
