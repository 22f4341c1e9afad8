#pragma once
/// NumPy's .npy arrays and .npz archives of them (format versions 1 to 3).
#include <optional>

#include "io/archive.h"
#include "io/tensor_file.h"

namespace tiller {

struct NumpyHeader {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  bool fortran_order = false;
  uint64_t data_offset = 0;  ///< In the .npy file.
  uint64_t data_bytes = 0;
};

/// Where the numbers begin, from a .npy file's first 12 bytes. Throws Error naming `file` where it
/// is none or its header is larger than 64 KiB.
uint64_t numpy_data_offset(std::string_view bytes, const std::string& file);

/// bytes: the beginning of a .npy file, as far as its header at least. Takes floats of 16 to 64
/// bits, integers of 8 to 64 and booleans, little-endian. Throws Error naming `file` on everything
/// else, Python objects and structures among it, and on shapes whose bytes overflow.
NumpyHeader parse_numpy_header(std::string_view bytes, const std::string& file);

/// Reads arrays one after the other; .npz and .npy are told apart by content. Memory is taken only
/// for what the file can hold. Errors name the file and array.
class NumpyReader {
 public:
  explicit NumpyReader(const fs::path&);

  /// Goes to the next array; false at the end. Its header isn't looked at yet, so that arrays of
  /// objects do no harm unless they are wanted.
  bool next();
  /// Without ".npy"; of a .npy file, its stem.
  const std::string& name() const { return name_; }
  const NumpyHeader& header();
  /// The next `count` rows along the first dimension, fewer at the end. Throws Error on scalars.
  Tensor rows(int64_t count);
  /// The whole array (or what rows have left of it).
  Tensor rest();

 private:
  std::string where() const;
  void read_header();
  Tensor read(const std::vector<int64_t>& shape);
  Tensor whole_fortran();
  void check_end();

  fs::path path_;
  uint64_t most_bytes_;
  bool zip_;
  ArchiveReader archive_;
  std::string name_;
  std::optional<NumpyHeader> header_;
  Tensor fortran_;  ///< The whole array where it is in Fortran order.
  int64_t row_ = 0;
};

/// The arrays by name; with `wanted`, only those of them that are there. Throws Error where a name
/// stands twice.
std::map<std::string, Tensor> load_numpy(const fs::path&,
                                         const std::vector<std::string>& wanted = {});

/// Writes a .npz that numpy.load reads: an uncompressed zip of CPU copies in the given order, under
/// a temporary name first. The same tensors give the same bytes. Throws Error on names that are
/// repeated or no ASCII, on dtypes that NumPy lacks and when it can't be written.
void save_npz(const fs::path&, const NamedTensors&);

}  // namespace tiller
