#include "io/numpy_file.h"

#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/error.h"

namespace {

void one_line(const tiller::Error& error) {
  if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

/// A file in memory with these bytes.
struct MemoryFile {
  int number = ::memfd_create("fuzz", 0);
  explicit MemoryFile(std::string_view bytes) {
    if (::write(number, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }
  ~MemoryFile() { ::close(number); }
  tiller::fs::path path() const { return "/proc/self/fd/" + std::to_string(number); }
};

}  // namespace

/// Any bytes are refused with one line, or give arrays whose every element can be read.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const auto header = tiller::parse_numpy_header(bytes, "x.npy");
    if (header.data_offset > size) std::abort();
  } catch (const tiller::Error& error) {
    one_line(error);
  }
  try {
    const MemoryFile file(bytes);
    for (const auto& [name, array] : tiller::load_numpy(file.path()))
      if (array.numel() > 0) array.to(at::kDouble).sum().item<double>();
  } catch (const tiller::Error& error) {
    one_line(error);
  }
  return 0;
}
