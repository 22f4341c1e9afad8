#include "io/numpy_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "io/error.h"

namespace tiller {
namespace {

const fs::path folder = fs::path(TILLER_FIXTURES) / "numpy_files";

fs::path temporary(const std::string& name) {
  return fs::path(testing::TempDir()) / ("numpy_" + std::to_string(::getpid()) + "_" + name);
}

std::string npy(const std::string& header, const std::string& data = "", char version = 1) {
  const auto size = header.size();
  std::string bytes =
      std::string("\x93NUMPY") + version + '\0' + char(size & 255) + char(size >> 8);
  if (version > 1) bytes += std::string(2, '\0');
  return bytes + header + data;
}

std::string header_of(const std::string& shape, const std::string& descr = "<f4") {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
}

NumpyHeader parse(const std::string& header) { return parse_numpy_header(npy(header), "x.npy"); }

TEST(NumpyHeader, OfAnyOrderQuotesAndSpaces) {
  const auto header = parse("{ \"shape\":(2 ,3L), 'fortran_order' :True,'descr': '|u1'}        \n");
  EXPECT_EQ(header.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(header.fortran_order);
  EXPECT_EQ(header.dtype, at::kByte);
  EXPECT_EQ(header.data_bytes, 6u);
  EXPECT_EQ(parse(header_of("()")).data_bytes, 4u);
  EXPECT_EQ(parse(header_of("(7,)", "<f8")).data_bytes, 56u);
  EXPECT_EQ(parse(header_of("(0, 9)")).data_bytes, 0u);
}

struct Refused {
  const char* name;
  std::string bytes, message;  ///< message: what it must contain.
};

void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }

class NumpyRefuses : public testing::TestWithParam<Refused> {};

TEST_P(NumpyRefuses, WithOneLineThatNamesFileAndFault) {
  const fs::path path = temporary(GetParam().name + std::string(".npy"));
  write_file(path, GetParam().bytes);
  try {
    load_numpy(path);
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
    EXPECT_EQ(message.find(path.string() + ":"), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  fs::remove(path);
}

INSTANTIATE_TEST_SUITE_P(
    Headers, NumpyRefuses,
    testing::Values(
        Refused{"Empty", "", "too short"}, Refused{"Text", "hello, this is text", "no NumPy array"},
        Refused{"Version", npy(header_of("(1,)"), "", 4), "version 4"},
        Refused{"CutHeader", npy(header_of("(1,)")).substr(0, 40), "cut off"},
        Refused{"HugeHeader", std::string("\x93NUMPY\x02\0\xff\xff\xff\x7f", 12), "at most 65536"},
        Refused{"NoDictionary", npy("[1, 2, 3, 4, 5, 6]"), "got '[1, 2"},
        Refused{"NoShape", npy("{'descr': '<f4', 'fortran_order': False}"), "other keys"},
        Refused{"KeyTwice", npy("{'descr': '<f4', 'descr': '<f4', 'shape': ()}"), "a key twice"},
        Refused{"OtherKey", npy("{'code': '<f4'}"), "the key 'code'"},
        Refused{"Order", npy("{'fortran_order': 1}"), "for the order"},
        Refused{"NoEnd", npy("{'descr': '<f4"), "without end"},
        Refused{"Trailing", npy(header_of("(1,)") + "x"), "other keys"},
        Refused{"Negative", npy(header_of("(-1,)")), "no whole number"},
        Refused{"HugeSize", npy(header_of("(9223372036854775808,)")), "beyond 2^63"},
        Refused{"Overflow", npy(header_of("(4294967296, 4294967296)")), "more than 2^63"},
        Refused{"OverflowOfNothing", npy(header_of("(0, 4294967296, 4294967296)")),
                "more than 2^63"},
        Refused{"ManyDigits", npy(header_of("(" + std::string(130, '1') + ")")), "beyond 2^63"},
        Refused{"BeyondTheFile", npy(header_of("(1000000000,)")), "more than the file can hold"},
        Refused{"CutNumbers", npy(header_of("(3,)"), "12345678"), "ends 4 bytes before"},
        Refused{"MoreNumbers", npy(header_of("(1,)"), "12345678"), "goes on after"},
        Refused{"Objects", npy(header_of("(1,)", "|O")), "Python objects"},
        Refused{"Unicode", npy(header_of("(1,)", "<U5")), "the dtype '<U5'"},
        Refused{"Complex", npy(header_of("(1,)", "<c8")), "the dtype '<c8'"},
        Refused{"NoDtype", npy(header_of("(1,)", "")), "the dtype ''"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(NumpyFile, ManyDimensionsAreRefused) {
  std::string shape = "(";
  for (int i = 0; i < 65; ++i) shape += "1, ";
  EXPECT_THROW(parse(header_of(shape + ")")), Error);
}

TEST(NumpyFile, ReadsEveryDtype) {
  const auto arrays = load_numpy(folder / "dtypes.npz");
  EXPECT_EQ(arrays.size(), 12u);
  const Tensor numbers = at::tensor({0, 1, 2, 3, 100, 127}, at::kDouble).view({2, 3});
  for (const auto& [name, array] : arrays) {
    SCOPED_TRACE(name);
    const Tensor expected = name == "b1" ? numbers.ne(0).to(at::kDouble) : numbers;
    EXPECT_TRUE(at::equal(array.to(at::kDouble), expected));
  }
  EXPECT_EQ(arrays.at("f2").scalar_type(), at::kHalf);
  EXPECT_EQ(arrays.at("u2").scalar_type(), at::kUInt16);
}

TEST(NumpyFile, ReadsDeflatedArchives) {
  const auto arrays = load_numpy(folder / "pytorch_fid.npz", {"sigma", "absent"});
  EXPECT_EQ(arrays.size(), 1u);
  EXPECT_TRUE(at::equal(arrays.at("sigma"), at::diag(at::tensor({1., 2., 3.}, at::kDouble))));
}

TEST(NumpyFile, ReadsFortranOrderAndVersion2) {
  const Tensor expected = at::arange(24, at::kShort).view({2, 3, 4});
  EXPECT_TRUE(at::equal(load_numpy(folder / "fortran.npy").at("fortran"), expected));
  EXPECT_TRUE(
      at::equal(load_numpy(folder / "version_2.npy").at("version_2"), at::arange(4, at::kFloat)));
  NumpyReader reader(folder / "fortran.npy");
  ASSERT_TRUE(reader.next());
  EXPECT_TRUE(at::equal(reader.rows(1), expected.slice(0, 0, 1)));
  EXPECT_TRUE(at::equal(reader.rows(5), expected.slice(0, 1)));
}

TEST(NumpyFile, RefusesWhatItCannotTake) {
  EXPECT_THROW(load_numpy(folder / "big_endian.npy"), Error);
  EXPECT_THROW(load_numpy(folder / "structures.npy"), Error);
  EXPECT_THROW(load_numpy(folder / "objects.npz"), Error);
  EXPECT_THROW(load_numpy(folder / "absent.npz"), Error);
  EXPECT_THROW(load_numpy(folder), Error);
}

TEST(NumpyFile, ObjectsThatNobodyWantsDoNoHarm) {
  EXPECT_EQ(load_numpy(folder / "objects.npz", {"other"}).at("other").item<float>(), 2.5f);
}

TEST(NumpyFile, ReadsRowByRow) {
  const Tensor images = load_numpy(folder / "images.npz").at("arr_0");
  NumpyReader reader(folder / "images.npz");
  ASSERT_TRUE(reader.next());
  EXPECT_TRUE(at::equal(reader.rows(2), images.slice(0, 0, 2)));
  EXPECT_TRUE(at::equal(reader.rows(2), images.slice(0, 2, 4)));
  EXPECT_TRUE(at::equal(reader.rows(2), images.slice(0, 4)));
  EXPECT_EQ(reader.rows(2).size(0), 0);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.name(), "arr_1");
  EXPECT_FALSE(reader.next());
}

/// A byte of the numbers is changed, or the file ends before its last array does.
TEST(NumpyFile, DamagedArchivesAreRefused) {
  const std::string bytes = read_file(folder / "images.npz");
  const fs::path path = temporary("damaged.npz");
  std::string damaged = bytes;
  damaged[bytes.find("NUMPY") + 130] ^= 1;
  write_file(path, damaged);
  EXPECT_THROW(load_numpy(path), Error);
  for (size_t size = 0; size < bytes.find("PK\x01\x02"); size += 29) {
    write_file(path, bytes.substr(0, size));
    EXPECT_THROW(load_numpy(path, {"arr_0", "arr_1"}), Error) << size;
  }
  fs::remove(path);
}

TEST(NumpyFile, WritesWhatItReads) {
  const fs::path path = temporary("written.npz");
  const NamedTensors tensors = {{"b", at::arange(6, at::kFloat).view({2, 3}).t()},
                                {"a", at::scalar_tensor(7, at::kLong)},
                                {"empty", at::empty({0, 4}, at::kHalf)},
                                {"truth", at::tensor({1, 0}).to(at::kBool)}};
  save_npz(path, tensors);
  const auto arrays = load_numpy(path);
  EXPECT_EQ(arrays.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(arrays.at(name).scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(arrays.at(name), tensor)) << name;
  }
  const std::string bytes = read_file(path);
  save_npz(path, tensors);
  EXPECT_EQ(read_file(path), bytes);
  fs::remove(path);
}

/// Header and padding as NumPy's own, byte for byte.
TEST(NumpyFile, HeadersEqualNumpys) {
  const fs::path path = temporary("header.npz");
  save_npz(path, {{"x", at::tensor({2.5f})}, {"y", at::zeros({3, 3}, at::kDouble)}});
  const std::string bytes = read_file(path);
  for (const std::string text : {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
                                 "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3), }"}) {
    const size_t at = bytes.find(text);
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_EQ(bytes.substr(at - 10, 10), std::string("\x93NUMPY\x01\0\x76\0", 10));
    EXPECT_EQ(bytes[at + 117], '\n');
  }
  fs::remove(path);
}

TEST(NumpyFile, RefusesToWriteWhatNumpyLacks) {
  const fs::path path = temporary("refused.npz");
  EXPECT_THROW(save_npz(path, {{"x", at::zeros({1}, at::kBFloat16)}}), Error);
  EXPECT_THROW(save_npz(path, {{"x", at::zeros({1})}, {"x", at::zeros({1})}}), Error);
  EXPECT_THROW(save_npz(path, {{"\u00e9", at::zeros({1})}}), Error);
  EXPECT_THROW(save_npz("/proc/no/x.npz", {{"x", at::zeros({1})}}), Error);
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace tiller
