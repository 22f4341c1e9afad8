#pragma once
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tiller {

/// Reads numbers and texts of a GGUF header one after the other. Each throws Error naming the file
/// where less is left than it takes.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string text();
  /// The next bytes, which are passed by.
  std::span<const std::byte> take(uint64_t size);
  /// The number of things that follow, of at least `size` bytes each. `what` is for the message.
  uint64_t count(uint64_t size, const std::string& what);

  uint64_t place() const { return place_; }
  const std::string& file() const { return file_; }
  [[noreturn]] void refuse(const std::string& found, const std::string& expected) const;

 private:
  std::span<const std::byte> bytes_;
  std::string file_;
  uint64_t place_ = 0;
};

/// A value of a GGUF file's metadata.
struct GgufValue {
  std::string text;              ///< Of a list, its first few.
  std::optional<int64_t> whole;  ///< Of a whole number.
  std::vector<int64_t> wholes;   ///< Of a short list of whole numbers.
};

/// The value that comes next. `key` is for messages.
GgufValue read_gguf_value(GgufCursor&, const std::string& key);

}  // namespace tiller
