#include "training/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>

#include "io/error.h"

namespace tiller {
namespace {

/// Fields of the protocol buffers, by number (tensorflow/core/util/event.proto and
/// framework/summary.proto).
enum EventField { wall_time = 1, event_step = 2, file_version = 3, summary = 5, session_log = 7 };
enum ValueField { tag_name = 1, simple_value = 2, image_value = 4 };
enum ImageField { image_height = 1, image_width = 2, colorspace = 3, encoded_image = 4 };
enum WireType { varint = 0, fixed64 = 1, length_delimited = 2, fixed32 = 5 };

constexpr uint32_t castagnoli = 0x82f63b78, mask_delta = 0xa282ead8;

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ castagnoli : crc >> 1;
    table[i] = crc;
  }
  return table;
}

/// Little-endian.
template <class Integer>
std::string fixed(Integer value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) bytes += char(value >> (8 * i) & 0xff);
  return bytes;
}

std::string varint_of(uint64_t value) {
  std::string bytes;
  for (; value > 0x7f; value >>= 7) bytes += char((value & 0x7f) | 0x80);
  return bytes + char(value);
}

std::string key(int field, WireType type) { return varint_of(uint64_t(field) << 3 | type); }

std::string whole(int field, int64_t value) {
  return key(field, varint) + varint_of(uint64_t(value));
}

std::string real(int field, double value) {
  return key(field, fixed64) + fixed(std::bit_cast<uint64_t>(value));
}

std::string real(int field, float value) {
  return key(field, fixed32) + fixed(std::bit_cast<uint32_t>(value));
}

std::string bytes_of(int field, std::string_view value) {
  return key(field, length_delimited) + varint_of(value.size()) + std::string(value);
}

/// TensorFlow masks checksums that are stored beside what they check.
uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + mask_delta; }

std::string record(const std::string& data) {
  const std::string length = fixed(uint64_t(data.size()));
  return length + fixed(masked(crc32c(length))) + data + fixed(masked(crc32c(data)));
}

double now() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

/// Later files sort behind earlier ones: TensorBoard reads them in this order.
fs::path new_file(const fs::path& folder) {
  for (int i = 0;; ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "events.out.tfevents.%010lld.%04d.tiller", (long long)now(),
                  i);
    if (!fs::exists(folder / name)) return folder / name;
  }
}

/// A side in a PNG's header; 0 where there is none.
int64_t png_side(std::string_view png, size_t at) {
  int64_t side = 0;
  for (size_t i = at; i < at + 4 && i < png.size(); ++i) side = side << 8 | uint8_t(png[i]);
  return side;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto table = crc_table();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = table[(crc ^ uint8_t(byte)) & 0xff] ^ crc >> 8;
  return ~crc;
}

EventFile::EventFile(const fs::path& folder, int64_t steps_done) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  const bool first = fs::is_empty(folder, failed);
  path_ = new_file(folder);
  file_.open(path_, std::ios::binary);
  if (!file_) throw Error(path_.string() + ": can't be written.");
  write(0, file_version, "brain.Event:2");
  const std::string start = whole(1, 1);  // SessionLog.status = START
  if (!first) write(steps_done + 1, session_log, start);
}

void EventFile::write(int64_t step, int field, const std::string& value) {
  file_ << record(real(wall_time, now()) + whole(event_step, step) + bytes_of(field, value))
        << std::flush;
  if (!file_) throw Error(path_.string() + ": can't be written.");
}

void EventFile::scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  std::string all;
  for (const auto& [tag, value] : values)
    all += bytes_of(1, bytes_of(tag_name, tag) + real(simple_value, float(value)));
  write(step, summary, all);
}

void EventFile::image(int64_t step, const std::string& tag, std::string_view png) {
  const std::string image = whole(image_height, png_side(png, 20)) +
                            whole(image_width, png_side(png, 16)) + whole(colorspace, 3) +
                            bytes_of(encoded_image, png);
  write(step, summary, bytes_of(1, bytes_of(tag_name, tag) + bytes_of(image_value, image)));
}

}  // namespace tiller
