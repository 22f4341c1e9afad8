#pragma once
#include <cstdint>
#include <fstream>
#include <vector>

#include "io/file.h"

namespace tiller {

/// CRC-32C (Castagnoli), as TensorFlow's record files have it.
uint32_t crc32c(std::string_view bytes);

/// What TensorBoard reads: a file of events, each a protocol buffer `Event` in a TFRecord. Every
/// event is in the file when its function returns.
class EventFile {
 public:
  /// Begins a new file in `folder`. What older files there say of steps after `steps_done`, which a
  /// resumed run repeats, is struck out. Throws Error when it can't be written.
  EventFile(const fs::path& folder, int64_t steps_done);
  const fs::path& path() const { return path_; }

  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  /// png: the bytes of an image file.
  void image(int64_t step, const std::string& tag, std::string_view png);

 private:
  void write(int64_t step, int field, const std::string& value);

  fs::path path_;
  std::ofstream file_;
};

}  // namespace tiller
