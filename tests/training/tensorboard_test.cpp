#include "training/tensorboard.h"

#include <bit>

#include "io/error.h"
#include "tests/training/dataset_files.h"

namespace tiller::test {
namespace {

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | uint8_t(bytes[i]);
  return value;
}

/// Bit by bit, unlike the writer's.
uint32_t slow_crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes)
    for (int bit = 0; bit < 8; ++bit) {
      const bool odd = (crc ^ uint8_t(byte) >> bit) & 1;
      crc = odd ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
  return ~crc;
}

uint32_t unmasked(uint64_t stored) {
  const uint32_t rotated = uint32_t(stored) - 0xa282ead8;
  return rotated >> 17 | rotated << 15;
}

/// The data of every record, with their checksums compared.
std::vector<std::string> records_of(const fs::path& path) {
  const std::string file = read_file(path);
  const std::string_view bytes = file;
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = little_endian(bytes.substr(at, 8));
    EXPECT_EQ(unmasked(little_endian(bytes.substr(at + 8, 4))), slow_crc32c(bytes.substr(at, 8)));
    records.emplace_back(bytes.substr(at + 12, length));
    EXPECT_EQ(unmasked(little_endian(bytes.substr(at + 12 + length, 4))),
              slow_crc32c(records.back()));
    at += length + 16;
  }
  return records;
}

/// A protocol buffer's fields: numbers as they are, texts and messages as bytes.
struct Field {
  int number;
  uint64_t value = 0;
  std::string bytes = {};
};

std::vector<Field> fields_of(std::string_view message) {
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = uint8_t(message.front());
      message.remove_prefix(1);
      value |= uint64_t(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
  };
  const auto taken = [&](size_t count) {
    const std::string_view part = message.substr(0, count);
    message.remove_prefix(count);
    return part;
  };
  std::vector<Field> fields;
  while (!message.empty()) {
    const uint64_t key = varint();
    Field field{int(key >> 3)};
    if ((key & 7) == 0) field.value = varint();
    if ((key & 7) == 1) field.value = little_endian(taken(8));
    if ((key & 7) == 5) field.value = little_endian(taken(4));
    if ((key & 7) == 2) field.bytes = taken(varint());
    fields.push_back(std::move(field));
  }
  return fields;
}

Field field(std::string_view message, int number) {
  for (auto& each : fields_of(message))
    if (each.number == number) return each;
  return {0};
}

class TensorBoard : public DatasetFiles {};

/// RFC 3720, B.4, and the check value of CRC-32C.
TEST_F(TensorBoard, KnowsChecksums) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST_F(TensorBoard, WritesScalarsAndImages) {
  const std::string png = encode_png(at::zeros({3, 5, 300}, at::kByte));
  EventFile events(root / "tensorboard", 0);
  events.scalars(50, {{"loss", 0.25}, {"learning_rate", 1e-4}});
  events.image(1000, "samples", png);
  const auto records = records_of(events.path());
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(field(records[0], 3).bytes, "brain.Event:2");
  EXPECT_GT(std::bit_cast<double>(field(records[0], 1).value), 1.7e9);

  EXPECT_EQ(field(records[1], 2).value, 50u);
  const auto values = fields_of(field(records[1], 5).bytes);
  ASSERT_EQ(values.size(), 2u);
  EXPECT_EQ(field(values[0].bytes, 1).bytes, "loss");
  EXPECT_EQ(std::bit_cast<float>(uint32_t(field(values[0].bytes, 2).value)), 0.25f);
  EXPECT_EQ(field(values[1].bytes, 1).bytes, "learning_rate");

  EXPECT_EQ(field(records[2], 2).value, 1000u);
  const std::string value = field(field(records[2], 5).bytes, 1).bytes;
  const std::string image = field(value, 4).bytes;
  EXPECT_EQ(field(image, 1).value, 5u);
  EXPECT_EQ(field(image, 2).value, 300u);
  EXPECT_EQ(field(image, 4).bytes, png);
}

/// A run that goes on writes a file behind the old one, and strikes out what it repeats.
TEST_F(TensorBoard, GoesOn) {
  const fs::path first = EventFile(root / "tensorboard", 0).path();
  EventFile events(root / "tensorboard", 300);
  EXPECT_LT(first.filename().string(), events.path().filename().string());
  const auto records = records_of(events.path());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(field(records[1], 2).value, 301u);
  EXPECT_EQ(field(field(records[1], 7).bytes, 1).value, 1u);
  EXPECT_EQ(records_of(first).size(), 1u);
}

/// A run that was killed before it saved begins again.
TEST_F(TensorBoard, StrikesOutARunThatBeginsAgain) {
  const fs::path first = EventFile(root / "tensorboard", 0).path();
  EventFile events(root / "tensorboard", 0);
  const auto records = records_of(events.path());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(field(records[1], 2).value, 1u);
  EXPECT_EQ(field(field(records[1], 7).bytes, 1).value, 1u);
}

TEST_F(TensorBoard, NamesAFileThatCantBeWritten) {
  write("taken", "");
  EXPECT_THROW(EventFile(root / "taken", 0), Error);
}

}  // namespace
}  // namespace tiller::test
