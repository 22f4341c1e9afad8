#include "io/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "io/error.h"
#include "io/mapped_tensor.h"

namespace tiller {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are mapped as they lie");

constexpr uint64_t max_header_bytes = 100'000'000;
constexpr size_t max_tensor_rank = 64;
constexpr int max_json_depth = 8;
const std::string metadata_key = "__metadata__";

const std::vector<std::pair<std::string, at::ScalarType>>& stored_dtypes() {
  static const std::vector<std::pair<std::string, at::ScalarType>> table = {
      {"F64", at::kDouble},
      {"F32", at::kFloat},
      {"F16", at::kHalf},
      {"BF16", at::kBFloat16},
      {"F8_E4M3", at::kFloat8_e4m3fn},
      {"F8_E5M2", at::kFloat8_e5m2},
      {"F8_E8M0", at::kFloat8_e8m0fnu},
      {"C64", at::kComplexFloat},
      {"I64", at::kLong},
      {"I32", at::kInt},
      {"I16", at::kShort},
      {"I8", at::kChar},
      {"U64", at::kUInt64},
      {"U32", at::kUInt32},
      {"U16", at::kUInt16},
      {"U8", at::kByte},
      {"BOOL", at::kBool},
  };
  return table;
}

[[noreturn]] void refuse_file(const std::string& where, const std::string& found,
                              const std::string& expected) {
  throw Error(where + ": got " + found + ", expected " + expected + ".");
}

/// "FILE: header of tensor 'NAME'", as messages begin.
std::string place(const std::string& file, const std::string& tensor) {
  return file + ": tensor '" + printable(tensor) + "'";
}

at::ScalarType dtype_of(const nlohmann::json& name, const std::string& where) {
  std::vector<std::string> known;
  for (const auto& [word, type] : stored_dtypes()) {
    if (name == word) return type;
    known.push_back(word);
  }
  refuse_file(where, "dtype " + printable(name.dump()), "one of " + enumerate(known, 20));
}

/// The JSON object, refusing repeated keys (of which the parser would keep the last) and deep
/// nesting as they come by.
nlohmann::json header_json(std::string_view text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > max_json_depth)
      refuse_file(file, "a header nested deeper than " + std::to_string(max_json_depth),
                  "a safetensors header");
    if (event == Event::object_start) keys.resize(static_cast<size_t>(depth) + 1);
    if (event == Event::object_start) keys.back().clear();
    if (event == Event::key && !keys.at(static_cast<size_t>(depth) - 1).insert(value).second)
      refuse_file(file, "'" + printable(value) + "' twice in its header", "each name once");
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    throw Error(file + ": its header is no valid JSON: " + printable(error.what(), 200) + ".");
  }
}

std::string_view header_text(std::span<const std::byte> bytes, const std::string& file) {
  uint64_t size = 0;
  if (bytes.size() < sizeof size)
    refuse_file(file, std::to_string(bytes.size()) + " bytes", "at least 8 of a safetensors file");
  std::memcpy(&size, bytes.data(), sizeof size);
  if (size > max_header_bytes)
    refuse_file(
        file, "a header of " + std::to_string(size) + " bytes",
        "at most " + std::to_string(max_header_bytes) + ": no safetensors file, or damaged");
  if (size > bytes.size() - sizeof size)
    refuse_file(file,
                "a header of " + std::to_string(size) + " bytes in a file of " +
                    std::to_string(bytes.size()),
                "a whole one: the file is cut off");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof size, size);
  if (!text.starts_with('{')) refuse_file(file, "a header that is no JSON object", "'{' at byte 8");
  return text;
}

std::map<std::string, std::string> read_metadata(const nlohmann::json& object,
                                                 const std::string& file) {
  if (!object.is_object()) refuse_file(file + ": " + metadata_key, object.type_name(), "an object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string())
      refuse_file(file + ": " + metadata_key + " '" + printable(key) + "'", value.type_name(),
                  "a string");
    metadata[key] = value;
  }
  return metadata;
}

std::vector<uint64_t> read_numbers(const nlohmann::json& info, const char* key,
                                   const std::string& where) {
  const auto found = info.find(key);
  if (found == info.end() || !found->is_array())
    refuse_file(where, "no list '" + std::string(key) + "'", "one of whole numbers");
  std::vector<uint64_t> numbers;
  for (const auto& item : *found) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > INT64_MAX)
      refuse_file(where, std::string(key) + " " + printable(item.dump()),
                  "a whole number below 2^63");
    numbers.push_back(item);
  }
  return numbers;
}

/// Bytes of the tensor. Sizes of 0 count as 1 while looking for overflow, as strides count them.
uint64_t bytes_of_tensor(const std::vector<int64_t>& shape, at::ScalarType dtype,
                         const std::string& where) {
  int64_t extent = static_cast<int64_t>(c10::elementSize(dtype));
  bool empty = false;
  for (const int64_t size : shape) {
    empty |= size == 0;
    if (__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent))
      refuse_file(where, "a shape of more than 2^63 bytes", "one that fits in the file");
  }
  return empty ? 0 : static_cast<uint64_t>(extent);
}

SafetensorsEntry read_entry(const std::string& name, const nlohmann::json& info,
                            const std::string& file) {
  const std::string where = place(file, name);
  if (!info.is_object()) refuse_file(where, info.type_name(), "an object");
  const auto dtype = info.find("dtype");
  if (dtype == info.end()) refuse_file(where, "no dtype", "one");
  const auto shape = read_numbers(info, "shape", where);
  if (shape.size() > max_tensor_rank)
    refuse_file(where, std::to_string(shape.size()) + " dimensions", "at most 64");
  const auto offsets = read_numbers(info, "data_offsets", where);
  if (offsets.size() != 2)
    refuse_file(where, std::to_string(offsets.size()) + " data_offsets", "a begin and an end");
  return {name, dtype_of(*dtype, where), {shape.begin(), shape.end()}, offsets[0], offsets[1]};
}

/// Each tensor begins where the one before ends, and the last ends with the file.
void check_offsets(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& file) {
  uint64_t expected = 0;
  for (const auto& entry : header.entries) {
    const std::string where = place(file, entry.name);
    if (entry.begin != expected)
      refuse_file(where,
                  "data at " + std::to_string(entry.begin) +
                      (entry.begin < expected ? " (overlapping)" : " (after a gap)"),
                  "it at " + std::to_string(expected));
    const uint64_t size = bytes_of_tensor(entry.shape, entry.dtype, where);
    if (entry.end < entry.begin || entry.end - entry.begin != size)
      refuse_file(where,
                  "data from " + std::to_string(entry.begin) + " to " + std::to_string(entry.end),
                  std::to_string(size) + " bytes for its shape");
    expected = entry.end;
  }
  if (expected > data_bytes)
    refuse_file(file, std::to_string(data_bytes) + " bytes of tensors",
                std::to_string(expected) + ": the file is cut off");
  if (expected < data_bytes)
    refuse_file(file, std::to_string(data_bytes - expected) + " bytes after the last tensor",
                "none");
}

std::string dtype_name(const std::string& name, const Tensor& tensor) {
  for (const auto& [word, type] : stored_dtypes())
    if (type == tensor.scalar_type()) return word;
  throw Error("tensor '" + printable(name) + "': got dtype " +
              std::string(c10::toString(tensor.scalar_type())) +
              ", expected one that safetensors has.");
}

NamedTensors widest_first(NamedTensors tensors) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  return tensors;
}

std::string make_header(const NamedTensors& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[metadata_key] = metadata;
  std::set<std::string> names = {metadata_key};
  uint64_t begin = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!names.insert(name).second)
      refuse_file("tensor '" + printable(name) + "'", "its name twice", "each name once");
    const uint64_t end = begin + static_cast<uint64_t>(tensor.numel()) * tensor.element_size();
    header.emplace(name, nlohmann::ordered_json{{"dtype", dtype_name(name, tensor)},
                                                {"shape", tensor.sizes().vec()},
                                                {"data_offsets", {begin, end}}});
    begin = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void write_tensor(std::ofstream& out, const Tensor& tensor) {
  const Tensor whole = tensor.detach().cpu().resolve_conj().contiguous();
  out.write(static_cast<const char*>(whole.const_data_ptr()),
            static_cast<std::streamsize>(whole.nbytes()));
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  const std::string_view text = header_text(bytes, file);
  SafetensorsHeader header;
  header.data_offset = sizeof(uint64_t) + text.size();
  const auto json = header_json(text, file);
  for (const auto& [name, info] : json.items()) {
    if (name == metadata_key)
      header.metadata = read_metadata(info, file);
    else
      header.entries.push_back(read_entry(name, info, file));
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_offsets(header, bytes.size() - header.data_offset, file);
  return header;
}

TensorFile load_safetensors(const fs::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  const SafetensorsHeader header = parse_safetensors(file->bytes(), path.string());
  TensorFile result;
  result.metadata = header.metadata;
  for (const auto& entry : header.entries)
    result.tensors.emplace_back(entry.name, mapped_tensor(file, header.data_offset + entry.begin,
                                                          entry.shape, entry.dtype));
  return result;
}

void save_safetensors(const fs::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  const NamedTensors sorted = widest_first(tensors);
  std::string header;
  try {
    header = make_header(sorted, metadata);
  } catch (const nlohmann::json::exception&) {
    refuse_file(path.string(), "a name or metadata that is no UTF-8", "UTF-8");
  } catch (const Error& error) {
    throw Error(path.string() + ": " + error.what());
  }
  write_atomically(path, [&](const fs::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    const uint64_t size = header.size();
    out.write(reinterpret_cast<const char*>(&size), sizeof size);
    out << header;
    for (const auto& [name, tensor] : sorted) write_tensor(out, tensor);
    out.close();
    if (!out) throw Error(path.string() + ": can't be written (is the disk full?).");
  });
}

}  // namespace tiller
