#include "io/gguf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <set>

#include "io/error.h"
#include "io/gguf_metadata.h"
#include "io/mapped_tensor.h"
#include "io/quantized.h"

namespace tiller {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are mapped as they lie");

constexpr uint64_t kMaxGgufHeader = 100'000'000, kMaxGgufName = 1024;
constexpr uint32_t kMaxGgufRank = 8;  ///< ggml has four.
constexpr int64_t kMostValues = INT64_MAX / 8;

/// The shapes of tensors that ComfyUI-GGUF's convert.py stored in rows of 256.
constexpr std::string_view kOriginalShape = "comfy.gguf.orig_shape.";
using GgufShapes = std::map<std::string, std::vector<int64_t>>;

uint64_t aligned(uint64_t place, uint64_t alignment) {
  return (place + alignment - 1) / alignment * alignment;
}

std::string gguf_place(const GgufEntry& entry) { return "tensor '" + printable(entry.name) + "'"; }

void check_gguf_version(GgufCursor& cursor) {
  if (cursor.number<uint32_t>() != 0x46554747)
    cursor.refuse("a file that doesn't begin with GGUF", "a GGUF file");
  const auto version = cursor.number<uint32_t>();
  if ((version & 0xffff) == 0) cursor.refuse("a big-endian GGUF file", "a little-endian one");
  if (version != 2 && version != 3)
    cursor.refuse("version " + std::to_string(version) + " of GGUF", "2 or 3");
}

void check_gguf_place(const GgufCursor& cursor) {
  if (cursor.place() > kMaxGgufHeader)
    cursor.refuse("a header of more than " + std::to_string(kMaxGgufHeader) + " bytes",
                  "less: it is damaged");
}

std::string gguf_name(GgufCursor& cursor, const std::string& of) {
  std::string name = cursor.text();
  if (name.size() > kMaxGgufName)
    cursor.refuse(of + " of " + std::to_string(name.size()) + " bytes",
                  "at most " + std::to_string(kMaxGgufName));
  return name;
}

uint64_t gguf_alignment(const GgufCursor& cursor, const GgufValue& value) {
  if (!value.whole || *value.whole < 1 || *value.whole > (1 << 20) ||
      !std::has_single_bit(uint64_t(*value.whole)))
    cursor.refuse("general.alignment '" + printable(value.text, 40) + "'",
                  "a power of two up to 2^20");
  return uint64_t(*value.whole);
}

/// Reads the metadata; returns the alignment of data.
uint64_t read_gguf_metadata(GgufCursor& cursor, uint64_t count, GgufHeader& header,
                            GgufShapes& shapes) {
  uint64_t alignment = 32;
  std::set<std::string> keys;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key = gguf_name(cursor, "a key of metadata");
    if (!keys.insert(key).second)
      cursor.refuse("metadata '" + printable(key) + "' twice", "each key once");
    const GgufValue value = read_gguf_value(cursor, key);
    check_gguf_place(cursor);
    if (key == "general.alignment") alignment = gguf_alignment(cursor, value);
    if (key.starts_with(kOriginalShape))
      shapes[key.substr(kOriginalShape.size())] = value.wholes;
    else
      header.metadata[key] = value.text;
  }
  return alignment;
}

/// The number of values. Sizes of 0 count as 1 while looking for overflow, as strides count them.
int64_t gguf_values(const GgufCursor& cursor, const GgufEntry& entry) {
  int64_t values = 1;
  bool empty = false, overflow = false;
  for (const int64_t size : entry.shape) {
    empty |= size == 0;
    overflow |= size < 0 || __builtin_mul_overflow(values, std::max<int64_t>(size, 1), &values);
  }
  if (overflow || values > kMostValues)
    cursor.refuse(gguf_place(entry) + " of more than 2^60 values", "fewer");
  return empty ? 0 : values;
}

/// The shape that a tensor had before it was stored in another.
void restore_gguf_shape(const GgufCursor& cursor, const GgufShapes& shapes, GgufEntry& entry) {
  const auto found = shapes.find(entry.name);
  if (found == shapes.end()) return;
  const int64_t values = gguf_values(cursor, entry);
  entry.shape = found->second;
  if (entry.shape.empty() || gguf_values(cursor, entry) != values)
    cursor.refuse(
        std::string(kOriginalShape) + printable(entry.name) + " of other values",
        "a list of whole numbers whose product is the tensor's " + std::to_string(values));
}

uint64_t gguf_entry_bytes(const GgufCursor& cursor, const GgufEntry& entry) {
  const GgmlType& type = *entry.type;
  const int64_t values = gguf_values(cursor, entry);
  const int64_t row = entry.shape.empty() ? 1 : entry.shape.back();
  if (row % type.block)
    cursor.refuse(gguf_place(entry) + " with rows of " + std::to_string(row),
                  "a multiple of " + std::string(type.name) + "'s " + std::to_string(type.block));
  return uint64_t(values / type.block) * uint64_t(type.bytes);
}

std::vector<int64_t> gguf_shape(GgufCursor& cursor, const GgufEntry& entry) {
  const auto rank = cursor.number<uint32_t>();
  if (rank > kMaxGgufRank)
    cursor.refuse(gguf_place(entry) + " of " + std::to_string(rank) + " dimensions",
                  "at most " + std::to_string(kMaxGgufRank));
  std::vector<int64_t> shape;
  for (uint32_t d = 0; d < rank; ++d) shape.push_back(cursor.number<int64_t>());
  std::reverse(shape.begin(), shape.end());
  return shape;
}

/// `expected` is where the data of the one before ends, aligned.
GgufEntry read_gguf_entry(GgufCursor& cursor, uint64_t expected) {
  GgufEntry entry;
  entry.name = gguf_name(cursor, "a tensor's name");
  entry.shape = gguf_shape(cursor, entry);
  const auto type = cursor.number<uint32_t>();
  entry.type = ggml_type(type);
  if (!entry.type)
    cursor.refuse(gguf_place(entry) + " of " + ggml_type_text(type), "one of " + ggml_type_names());
  entry.begin = cursor.number<uint64_t>();
  if (entry.begin != expected)
    cursor.refuse(gguf_place(entry) + " with data at " + std::to_string(entry.begin) +
                      (entry.begin < expected ? " (overlapping or misaligned)" : " (after a gap)"),
                  "it at " + std::to_string(expected));
  entry.end = entry.begin + gguf_entry_bytes(cursor, entry);
  return entry;
}

}  // namespace

GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& file) {
  GgufCursor cursor(bytes, file);
  check_gguf_version(cursor);
  const uint64_t tensors = cursor.count(24, "tensors"), keys = cursor.count(13, "keys of metadata");
  GgufHeader header;
  GgufShapes shapes;
  const uint64_t alignment = read_gguf_metadata(cursor, keys, header, shapes);
  std::set<std::string> names;
  uint64_t end = 0;
  for (uint64_t i = 0; i < tensors; ++i) {
    GgufEntry entry = read_gguf_entry(cursor, aligned(end, alignment));
    check_gguf_place(cursor);
    if (!names.insert(entry.name).second)
      cursor.refuse(gguf_place(entry) + " twice", "each name once");
    restore_gguf_shape(cursor, shapes, entry);
    end = entry.end;
    if (end > bytes.size())
      cursor.refuse(gguf_place(entry) + " up to byte " + std::to_string(end) +
                        " of the data in a file of " + std::to_string(bytes.size()),
                    "a whole file: it is cut off");
    header.entries.push_back(std::move(entry));
  }
  header.data_offset = aligned(cursor.place(), alignment);
  if (end > 0 && (header.data_offset > bytes.size() || end > bytes.size() - header.data_offset))
    cursor.refuse(std::to_string(bytes.size()) + " bytes",
                  std::to_string(header.data_offset + end) + ": the file is cut off");
  return header;
}

TensorFile load_gguf(const fs::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  GgufHeader header = parse_gguf(file->bytes(), path.string());
  TensorFile result;
  result.metadata = std::move(header.metadata);
  for (const auto& entry : header.entries) {
    const uint64_t begin = header.data_offset + entry.begin;
    const bool plain = entry.type->dtype != at::ScalarType::Undefined || entry.begin == entry.end;
    const at::ScalarType dtype =
        entry.type->dtype == at::ScalarType::Undefined ? at::kFloat : entry.type->dtype;
    result.tensors.emplace_back(entry.name,
                                plain ? mapped_tensor(file, begin, entry.shape, dtype)
                                      : quantized_tensor(file, begin, entry.shape, *entry.type));
  }
  return result;
}

}  // namespace tiller
