#include <ATen/ATen.h>

#include <algorithm>
#include <fstream>

#include "io/error.h"
#include "io/numpy_file.h"

namespace tiller {
namespace {

/// Deflate packs no more than 1,032 bytes into one.
constexpr uint64_t deflate_ratio = 1032;

bool is_zip(const fs::path& path) {
  if (fs::is_directory(path)) throw Error(path.string() + ": got a folder, expected a file.");
  std::ifstream file(path, std::ios::binary);
  char start[2] = {};
  file.read(start, sizeof start);
  if (!file)
    throw Error(path.string() + ": can't be read, or is no .npy or .npz file: it is too short.");
  return start[0] == 'P' && start[1] == 'K';
}

uint64_t most_bytes(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : size * deflate_ratio;
}

Tensor allocate(const std::vector<int64_t>& shape, at::ScalarType dtype, const std::string& where) {
  try {
    return at::empty(shape, at::TensorOptions().dtype(dtype));
  } catch (const c10::Error&) {
    throw Error(where + ": got an array that doesn't fit in memory.");
  }
}

/// Where other than 0 and 1 stand for true, they become 1.
void make_boolean(Tensor& tensor) {
  auto* bytes = static_cast<uint8_t*>(tensor.mutable_data_ptr());
  std::transform(bytes, bytes + tensor.numel(), bytes, [](uint8_t b) { return b != 0; });
}

}  // namespace

NumpyReader::NumpyReader(const fs::path& path)
    : path_(path),
      most_bytes_(most_bytes(path)),
      zip_(is_zip(path)),
      archive_(path, zip_ ? ArchiveReader::Format::zip : ArchiveReader::Format::raw) {}

std::string NumpyReader::where() const {
  return path_.string() + (zip_ ? ": array '" + printable(name_) + "'" : "");
}

bool NumpyReader::next() {
  header_.reset();
  fortran_ = Tensor();
  row_ = 0;
  while (archive_.next()) {
    name_ = zip_ ? archive_.name() : path_.filename().string();
    const bool array = name_.ends_with(".npy");
    if (array) name_.resize(name_.size() - 4);
    if (!zip_ || (array && archive_.is_file())) return true;
  }
  return false;
}

void NumpyReader::read_header() {
  std::string bytes = archive_.read(12);
  const uint64_t end = numpy_data_offset(bytes, where());
  if (end > bytes.size()) bytes += archive_.read(end - bytes.size());
  const NumpyHeader header = parse_numpy_header(bytes, where());
  if (header.data_bytes > most_bytes_)
    throw Error(where() + ": got an array of " + std::to_string(header.data_bytes) +
                " bytes, more than the file can hold: it is damaged.");
  header_ = header;
}

const NumpyHeader& NumpyReader::header() {
  if (!header_) read_header();
  return *header_;
}

Tensor NumpyReader::read(const std::vector<int64_t>& shape) {
  Tensor tensor = allocate(shape, header().dtype, where());
  const size_t got = archive_.read_into(
      {static_cast<std::byte*>(tensor.mutable_data_ptr()), static_cast<size_t>(tensor.nbytes())});
  if (got != static_cast<size_t>(tensor.nbytes()))
    throw Error(where() + ": ends " + std::to_string(tensor.nbytes() - got) +
                " bytes before its array does: the file is cut off.");
  if (header().dtype == at::kBool) make_boolean(tensor);
  return tensor;
}

/// Reading on past the end also makes the archive compare its checksum.
void NumpyReader::check_end() {
  if (!archive_.read(1).empty())
    throw Error(where() + ": goes on after its array, expected its end.");
}

Tensor NumpyReader::whole_fortran() {
  if (fortran_.defined()) return fortran_;
  std::vector<int64_t> reversed(header().shape.rbegin(), header().shape.rend());
  Tensor tensor = read(reversed);
  check_end();
  std::vector<int64_t> order(reversed.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(order.size() - 1 - i);
  fortran_ = tensor.permute(order).contiguous();
  return fortran_;
}

Tensor NumpyReader::rows(int64_t count) {
  std::vector<int64_t> shape = header().shape;
  if (shape.empty()) throw Error(where() + ": got a single number, expected rows.");
  const int64_t first = row_, total = shape[0];
  shape[0] = std::min(count, total - first);
  row_ += shape[0];
  if (header().fortran_order) return whole_fortran().slice(0, first, row_);
  Tensor rows = read(shape);
  if (row_ == total) check_end();
  return rows;
}

Tensor NumpyReader::rest() {
  if (!header().shape.empty()) return rows(header().shape[0]);
  Tensor scalar = read({});
  check_end();
  return scalar;
}

std::map<std::string, Tensor> load_numpy(const fs::path& path,
                                         const std::vector<std::string>& wanted) {
  NumpyReader reader(path);
  std::map<std::string, Tensor> arrays;
  while (reader.next()) {
    const std::string& name = reader.name();
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    if (!arrays.emplace(name, reader.rest()).second)
      throw Error(path.string() + ": got the array '" + printable(name) +
                  "' twice, expected each once.");
  }
  return arrays;
}

}  // namespace tiller
