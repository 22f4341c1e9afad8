#include <algorithm>

#include "io/error.h"
#include "io/numpy_dtypes.h"
#include "io/numpy_file.h"

namespace tiller {
namespace {

constexpr size_t max_numpy_header_bytes = 1 << 16;
constexpr size_t max_rank = 64;
constexpr std::string_view magic = "\x93NUMPY";

/// The Python dictionary that a header is: {'descr': '<f4', 'fortran_order': False, 'shape': (2,)}.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  NumpyHeader parse() {
    expect('{');
    while (peek() != '}') {
      entry();
      if (peek() != '}') expect(',');
    }
    expect('}');
    if (seen_ != 7 || peek() != 0) refuse("a header of other keys");
    return header_;
  }

 private:
  [[noreturn]] void refuse(const std::string& found) const {
    throw Error(file_ + ": got " + found +
                ", expected a NumPy header as {'descr': '<f4', 'fortran_order': False, 'shape': "
                "(2, 3)}.");
  }

  /// The next character after white space; 0 at the end.
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  void expect(char c) {
    if (peek() != c) refuse("'" + printable(std::string(text_.substr(at_, 20))) + "'");
    ++at_;
  }

  std::string quoted() {
    const char quote = peek() == '"' ? '"' : '\'';
    expect(quote);
    const size_t end = text_.find(quote, at_);
    if (end == text_.npos) refuse("a string without end");
    const std::string value(text_.substr(at_, end - at_));
    at_ = end + 1;
    return value;
  }

  bool boolean() {
    peek();
    for (const std::string_view word : {"True", "False"}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return word == "True";
    }
    refuse("'" + printable(std::string(text_.substr(at_, 20))) + "' for the order");
  }

  int64_t size() {
    int64_t value = 0;
    if (peek() < '0' || peek() > '9') refuse("a size that is no whole number");
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, text_[at_] - '0', &value))
        refuse("a size beyond 2^63");
    if (peek() == 'L') ++at_;  // as Python 2 wrote it
    return value;
  }

  std::vector<int64_t> shape() {
    std::vector<int64_t> sizes;
    expect('(');
    while (peek() != ')') {
      if (sizes.size() == max_rank) refuse("more than 64 dimensions");
      sizes.push_back(size());
      if (peek() != ')') expect(',');
    }
    expect(')');
    return sizes;
  }

  void entry() {
    const std::string key = quoted();
    expect(':');
    if (key == "descr") {
      if (peek() == '[') refuse("an array of structures");
      header_.dtype = numpy_dtype(quoted(), file_);
      see(1);
    } else if (key == "fortran_order") {
      header_.fortran_order = boolean();
      see(2);
    } else if (key == "shape") {
      header_.shape = shape();
      see(4);
    } else {
      refuse("the key '" + printable(key) + "'");
    }
  }

  void see(int bit) {
    if (seen_ & bit) refuse("a key twice");
    seen_ |= bit;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  int seen_ = 0;
  NumpyHeader header_;
};

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// Sizes of 0 count as 1 while looking for overflow, as strides count them.
uint64_t data_bytes_of(const NumpyHeader& header, const std::string& file) {
  int64_t extent = static_cast<int64_t>(c10::elementSize(header.dtype));
  for (const int64_t size : header.shape)
    if (__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent))
      throw Error(file + ": got a shape of more than 2^63 bytes, expected one that fits.");
  const bool empty = std::find(header.shape.begin(), header.shape.end(), 0) != header.shape.end();
  return empty ? 0 : static_cast<uint64_t>(extent);
}

}  // namespace

uint64_t numpy_data_offset(std::string_view bytes, const std::string& file) {
  if (bytes.size() < 12 || !bytes.starts_with(magic))
    throw Error(file + ": got no NumPy array, expected one (it begins with \\x93NUMPY).");
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw Error(file + ": got version " + std::to_string(version) +
                " of NumPy's format, expected 1, 2 or 3.");
  const size_t width = version == 1 ? 2 : 4;
  const uint64_t size = little_endian(bytes.substr(8, width));
  if (size > max_numpy_header_bytes)
    throw Error(file + ": got a NumPy header of " + std::to_string(size) +
                " bytes, expected at most " + std::to_string(max_numpy_header_bytes) + ".");
  return 8 + width + size;
}

NumpyHeader parse_numpy_header(std::string_view bytes, const std::string& file) {
  const uint64_t end = numpy_data_offset(bytes, file), begin = bytes[6] == 1 ? 10 : 12;
  if (end > bytes.size())
    throw Error(file + ": got " + std::to_string(bytes.size()) + " bytes, expected a header of " +
                std::to_string(end) + ": the file is cut off.");
  NumpyHeader header = HeaderText(bytes.substr(begin, end - begin), file).parse();
  header.data_offset = end;
  header.data_bytes = data_bytes_of(header, file);
  return header;
}

}  // namespace tiller
