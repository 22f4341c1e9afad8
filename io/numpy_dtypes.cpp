#include "io/numpy_dtypes.h"

#include <bit>
#include <vector>

#include "io/error.h"

namespace tiller {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are read as they lie");

const std::vector<std::pair<std::string, at::ScalarType>>& dtypes() {
  static const std::vector<std::pair<std::string, at::ScalarType>> table = {
      {"f2", at::kHalf},   {"f4", at::kFloat},  {"f8", at::kDouble}, {"i1", at::kChar},
      {"i2", at::kShort},  {"i4", at::kInt},    {"i8", at::kLong},   {"u1", at::kByte},
      {"u2", at::kUInt16}, {"u4", at::kUInt32}, {"u8", at::kUInt64}, {"b1", at::kBool}};
  return table;
}

}  // namespace

at::ScalarType numpy_dtype(const std::string& descr, const std::string& file) {
  const std::string kind = descr.empty() ? "" : descr.substr(1);
  if (kind.starts_with("O"))
    throw Error(file +
                ": got an array of Python objects (a pickle), expected numbers: it isn't opened.");
  for (const auto& [name, type] : dtypes()) {
    if (name != kind) continue;
    if (descr[0] == '<' || descr[0] == '|' || descr[0] == '=') return type;
    if (descr[0] == '>')
      throw Error(file + ": got big-endian numbers (" + descr +
                  "), expected little-endian: save array.astype('<" + name + "').");
  }
  throw Error(file + ": got the dtype '" + printable(descr) +
              "', expected floats, integers or booleans.");
}

std::string numpy_descr(at::ScalarType dtype, const std::string& file) {
  for (const auto& [name, type] : dtypes())
    if (type == dtype) return (c10::elementSize(type) == 1 ? "|" : "<") + name;
  throw Error(file + ": got the dtype " + c10::toString(dtype) + ", expected one that NumPy has.");
}

}  // namespace tiller
