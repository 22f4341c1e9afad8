#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/error.h"
#include "tools/inversion_file.h"

namespace {

using tiller::Json;

/// A file in memory that lasts as long as this.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes) : descriptor_(memfd_create("inversion", 0)) {
    if (write(descriptor_, bytes.data(), bytes.size()) != ssize_t(bytes.size())) std::abort();
  }
  ~MemoryFile() { close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Any file is refused with one line, or gives states of as many images as it tells of.
bool read(const std::string& bytes) {
  const MemoryFile memory(bytes);
  try {
    const auto file = tiller::read_inversion(memory.path());
    if (file.state.latents.size(0) != int64_t(file.images.size())) std::abort();
    for (const auto& part :
         {file.state.latents, file.state.partner, file.state.side, file.state.record, file.levels})
      if (part.defined()) part.clone();
    return true;
  } catch (const tiller::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    return false;
  }
}

/// A sound file's parts: its header, its recipe and the length of its data.
Json sound_parts() {
  const auto tensor = [](const char* type, const std::vector<int>& shape, int begin, int end) {
    return Json{{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, end}}};
  };
  return {{"header",
           {{"latents", tensor("I32", {1, 2, 2, 1}, 48, 64)},
            {"partner", tensor("I32", {1, 2, 2, 1}, 64, 80)},
            {"side", tensor("U8", {1, 2, 2, 1}, 80, 84)},
            {"levels", tensor("F64", {2, 3}, 0, 48)}}},
          {"recipe",
           {{"version", "0"},
            {"model", {{"file", "m"}, {"hash", "0"}}},
            {"inputs", Json::object()},
            {"request", tiller::to_json(tiller::GenerateRequest{})},
            {"images", {{{"seed", 1}, {"label", 2}, {"prompt", ""}}}},
            {"level", 1},
            {"threads", 1},
            {"target", ""}}},
          {"bytes", 84}};
}

/// The file of such parts, its data all of one value.
std::string file_of(const Json& parts, char value) {
  constexpr auto replace = Json::error_handler_t::replace;
  Json header = parts.at("header");
  header["__metadata__"] = {{"format", tiller::InversionFile::format},
                            {"tiller", parts.at("recipe").dump(-1, ' ', false, replace)}};
  std::string text = header.dump(-1, ' ', false, replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  uint64_t length = text.size();
  std::string bytes;
  for (int i = 0; i < 8; ++i, length >>= 8) bytes += char(length & 0xff);
  const auto size = parts.at("bytes").get<size_t>();
  return bytes + text + std::string(std::min<size_t>(size, 4096), value);
}

/// The text as a change of the sound parts.
void read_changed(const std::string& text) {
  const Json change = Json::parse(text, nullptr, false);
  if (!change.is_object()) return;
  Json parts = sound_parts();
  parts.merge_patch(change);
  if (!parts.contains("recipe") || !parts.contains("header") || !parts["header"].is_object() ||
      !parts.contains("bytes") || !parts["bytes"].is_number_unsigned())
    return;
  for (const char value : {'\0', '\x7f', '\xff'}) read(file_of(parts, value));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool sound = read(file_of(sound_parts(), 0));
  if (!sound) std::abort();
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  read(bytes);
  read_changed(bytes);
  return 0;
}
