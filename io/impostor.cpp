#include "io/impostor.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "io/error.h"

namespace tiller {
namespace {

using namespace std::string_view_literals;

const std::string kWeights = "weights (safetensors, GGUF or a PyTorch checkpoint)";
constexpr size_t kHead = 1024;
constexpr size_t kMaxZipEnd = 22 + 65535;  ///< The end of the central directory and its comment.

struct FormatMark {
  size_t place;
  std::string_view bytes;
  const char *found, *advice;
};

const char* const kUnpack = "Unpack it first.";
const char* const kDownload = "Download it again: a login or another link may be needed.";

const FormatMark kMarks[] = {
    {0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file (Keras?)", "Look for the same model as safetensors."},
    {0, "\x93NUMPY"sv, "a NumPy array", ""},
    {0, "\x89PNG\r\n\x1a\n"sv, "a PNG image", ""},
    {0, "\xff\xd8\xff"sv, "a JPEG image", ""},
    {0, "%PDF"sv, "a PDF", ""},
    {0, "\x1f\x8b"sv, "a gzip archive", kUnpack},
    {0, "\x28\xb5\x2f\xfd"sv, "a Zstandard archive", kUnpack},
    {0,
     "\xfd"
     "7zXZ"sv,
     "an xz archive", kUnpack},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive", kUnpack},
    {0, "Rar!"sv, "a RAR archive", kUnpack},
    {257, "ustar"sv, "a tar archive", kUnpack},
};

[[noreturn]] void refuse_format(const fs::path& path, const std::string& found,
                                const std::string& advice) {
  throw Error(path.string() + ": got " + found + ", expected " + kWeights + "." +
              (advice.empty() ? "" : " " + advice));
}

/// The number that follows "size " in a Git LFS pointer, in words.
std::string size_behind(std::string_view pointer) {
  const size_t place = pointer.find("\nsize ");
  const double bytes =
      place == pointer.npos
          ? 0
          : std::strtod(std::string(pointer.substr(place + 6, 20)).c_str(), nullptr);
  if (!(bytes > 0)) return "";
  char text[64];
  std::snprintf(text, sizeof text, " of %.3g %s", bytes < 1e9 ? bytes / 1e6 : bytes / 1e9,
                bytes < 1e9 ? "MB" : "GB");
  return text;
}

/// The text in lower case without leading white space.
std::string plain(std::string_view text) {
  const size_t start = text.find_first_not_of("\xef\xbb\xbf \t\r\n");
  std::string result(start == text.npos ? ""sv : text.substr(start));
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : char(c); });
  return result;
}

/// A protobuf whose first fields are ONNX's ir_version and producer_name.
bool is_onnx(std::string_view head) {
  if (head.size() < 8 || head[0] != 0x08 || head[1] <= 0 || head[1] > 32 || head[2] != 0x12)
    return false;
  const auto letter = [](char c) { return c >= ' ' && c <= '~'; };
  const std::string_view name = head.substr(4, std::min<size_t>(4, size_t(head[3])));
  return !name.empty() && std::all_of(name.begin(), name.end(), letter);
}

void refuse_text(std::string_view head, const fs::path& path) {
  if (head.starts_with("version https://git-lfs"))
    refuse_format(path, "a Git LFS pointer to a file" + size_behind(head) + " instead of that file",
                  "Run 'git lfs pull' or download the file itself.");
  const std::string text = plain(head);
  for (const char* start : {"<!doctype", "<html", "<head", "<?xml"})
    if (text.starts_with(start)) refuse_format(path, "a web page", kDownload);
  if (head.starts_with('{') && head.substr(0, 8).find('\0') == head.npos)
    refuse_format(path, "JSON text", "The weights lie in another file.");
}

void refuse_cut_zip(std::string_view all, const fs::path& path) {
  const size_t tail = std::min(all.size(), kMaxZipEnd);
  if (all.substr(all.size() - tail).find("PK\x05\x06") == all.npos)
    throw Error(path.string() + ": is cut off: got " + std::to_string(all.size()) +
                " bytes without the end of the checkpoint. Download it again.");
}

}  // namespace

void refuse_impostor(std::span<const std::byte> bytes, const fs::path& path) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view head = all.substr(0, kHead);
  if (all.empty()) refuse_format(path, "an empty file", "Download it again.");
  if (all.starts_with("PK\x03\x04")) return refuse_cut_zip(all, path);
  if (all.size() > 8 && all[8] == '{') return;  // safetensors, of which any size may come first
  refuse_text(head, path);
  for (const auto& mark : kMarks)
    if (head.size() > mark.place && head.substr(mark.place).starts_with(mark.bytes))
      refuse_format(path, mark.found, mark.advice);
  if (is_onnx(head))
    refuse_format(path, "an ONNX model", "Look for the same model as safetensors.");
  if (head.size() >= 16 && head.find_first_not_of('\0') == head.npos)
    refuse_format(path, "a file that begins with zeros", "It looks like an unfinished download.");
}

}  // namespace tiller
