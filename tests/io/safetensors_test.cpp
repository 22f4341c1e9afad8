#include "io/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "io/error.h"

namespace tiller {
namespace {

std::string_view bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::string file_of(const std::string& header, const std::string& data = "") {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header + data;
}

SafetensorsHeader parse_header(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "x.safetensors");
}

/// The message with which the bytes are refused; "" if they aren't.
std::string refusal(const std::string& bytes) {
  try {
    parse_header(bytes);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string tensor(const std::string& name, const std::string& shape, int begin, int end,
                   const std::string& dtype = "F32") {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

struct RefusedHeader {
  const char* name;
  std::string bytes, message;  ///< message: what it must contain.
};

void PrintTo(const RefusedHeader& refused, std::ostream* out) { *out << refused.name; }

class SafetensorsRefuses : public testing::TestWithParam<RefusedHeader> {};

TEST_P(SafetensorsRefuses, WithOneLineThatNamesFileAndFault) {
  const std::string message = refusal(GetParam().bytes);
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.find("x.safetensors: "), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

std::string size_field(uint64_t size) {
  return {reinterpret_cast<const char*>(&size), sizeof size};
}

const std::string a = tensor("a", "[2]", 0, 8);

INSTANTIATE_TEST_SUITE_P(
    Damage, SafetensorsRefuses,
    testing::Values(
        RefusedHeader{"Empty", "", "0 bytes"},
        RefusedHeader{"CutLength", "\x02\0\0", "expected at least 8"},
        RefusedHeader{"HugeHeader", size_field(100'000'001) + "{}", "at most 100000000"},
        RefusedHeader{"AllOnes", std::string(64, '\xff'), "at most 100000000"},
        RefusedHeader{"CutHeader", size_field(50) + "{}", "cut off"},
        RefusedHeader{"NoObject", file_of("[]"), "no JSON object"},
        RefusedHeader{"NoHeader", file_of(""), "no JSON object"},
        RefusedHeader{"BadJson", file_of("{\"a\":"), "no valid JSON"},
        RefusedHeader{"TextAfterJson", file_of("{}{}"), "no valid JSON"},
        RefusedHeader{"BadUtf8", file_of("{\"\xff\":1}"), "no valid JSON"},
        RefusedHeader{"DeepObject", file_of([] {
                        std::string text;
                        for (int i = 0; i < 100'000; ++i) text += "{\"a\":";
                        return text;
                      }()),
                      "nested deeper"},
        RefusedHeader{"DeepList", file_of("{\"a\":" + std::string(1'000'000, '[')),
                      "nested deeper"},
        RefusedHeader{"SameNameTwice", file_of("{" + a + "," + a + "}", std::string(8, 0)),
                      "'a' twice"},
        RefusedHeader{"SameKeyTwice",
                      file_of("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[2],"
                              "\"data_offsets\":[0,8]}}",
                              std::string(8, 0)),
                      "'dtype' twice"},
        RefusedHeader{"SameMetadataTwice", file_of("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}"),
                      "'k' twice"},
        RefusedHeader{"MetadataNumber", file_of("{\"__metadata__\":{\"k\":1}}"),
                      "expected a string"},
        RefusedHeader{"MetadataList", file_of("{\"__metadata__\":[]}"), "expected an object"},
        RefusedHeader{"InfoNumber", file_of("{\"a\":1}"), "expected an object"},
        RefusedHeader{"UnknownDtype", file_of("{" + tensor("a", "[2]", 0, 8, "F33") + "}"),
                      "\"F33\""},
        RefusedHeader{"DtypeMissing", file_of("{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}"),
                      "no dtype"},
        RefusedHeader{"ShapeMissing", file_of("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}"),
                      "no list 'shape'"},
        RefusedHeader{"OffsetsMissing", file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}"),
                      "no list 'data_offsets'"},
        RefusedHeader{"OneOffset",
                      file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0]}}"),
                      "1 data_offsets"},
        RefusedHeader{"NegativeSize", file_of("{" + tensor("a", "[-2]", 0, 8) + "}"), "shape -2"},
        RefusedHeader{"FractionalSize", file_of("{" + tensor("a", "[2.0]", 0, 8) + "}"),
                      "shape 2.0"},
        RefusedHeader{"HugeSize", file_of("{" + tensor("a", "[18446744073709551615]", 0, 8) + "}"),
                      "below 2^63"},
        RefusedHeader{"Overflow", file_of("{" + tensor("a", "[4611686018427387904,4]", 0, 0) + "}"),
                      "more than 2^63"},
        RefusedHeader{"OverflowBehindZero",
                      file_of("{" + tensor("a", "[0,4611686018427387904,4]", 0, 0) + "}"),
                      "more than 2^63"},
        RefusedHeader{"TooManyDimensions",
                      file_of("{" +
                              tensor(
                                  "a",
                                  "[1" +
                                      [] {
                                        std::string ones;
                                        for (int i = 0; i < 64; ++i) ones += ",1";
                                        return ones;
                                      }() +
                                      "]",
                                  0, 4) +
                              "}"),
                      "65 dimensions"},
        RefusedHeader{"ShapeAndOffsetsDiffer",
                      file_of("{" + tensor("a", "[3]", 0, 8) + "}", std::string(8, 0)),
                      "12 bytes for its shape"},
        RefusedHeader{"EndBeforeBegin",
                      file_of("{" + tensor("a", "[2]", 8, 0) + "}", std::string(8, 0)), "data"},
        RefusedHeader{"Overlap",
                      file_of("{" + a + "," + tensor("b", "[2]", 4, 12) + "}", std::string(12, 0)),
                      "overlapping"},
        RefusedHeader{"SameBytes",
                      file_of("{" + a + "," + tensor("b", "[2]", 0, 8) + "}", std::string(8, 0)),
                      "overlapping"},
        RefusedHeader{"Gap",
                      file_of("{" + a + "," + tensor("b", "[2]", 12, 20) + "}", std::string(20, 0)),
                      "gap"},
        RefusedHeader{"GapAtStart",
                      file_of("{" + tensor("b", "[2]", 4, 12) + "}", std::string(12, 0)), "gap"},
        RefusedHeader{"TrailingBytes", file_of("{" + a + "}", std::string(9, 0)),
                      "1 bytes after the last tensor"},
        RefusedHeader{"CutData", file_of("{" + a + "}", std::string(7, 0)), "cut off"},
        RefusedHeader{"LineFeedInName", file_of("{\"a\\nb\":3}"), "'a?b'"}),
    [](const auto& info) { return info.param.name; });

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(refusal(file_of("{}")), "");
  EXPECT_EQ(refusal(file_of("{}      ")), "");
  EXPECT_EQ(refusal(file_of("{" + tensor("a", "[]", 0, 4) + "}", "1234")), "");
  const auto header = parse_header(file_of(
      "{" + tensor("b", "[2]", 0, 8) + "," + tensor("a", "[0,3]", 0, 0) + "}", std::string(8, 0)));
  ASSERT_EQ(header.entries.size(), 2u);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].shape, (std::vector<int64_t>{0, 3}));
}

class SafetensorsFile : public testing::Test {
 protected:
  fs::path folder = fs::path(testing::TempDir()) / ("safetensors" + std::to_string(::getpid()));
  fs::path path = folder / "weights.safetensors";
  void TearDown() override { fs::remove_all(folder); }
};

TEST_F(SafetensorsFile, KeepsEveryDtypeBitForBit) {
  NamedTensors tensors;
  const Tensor bytes = at::randint(0, 255, {6, 64}, at::kByte);
  for (const auto dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2,
        at::kFloat8_e8m0fnu, at::kComplexFloat, at::kLong, at::kInt, at::kShort, at::kChar,
        at::kUInt64, at::kUInt32, at::kUInt16, at::kByte})
    tensors.emplace_back(c10::toString(dtype), bytes.view(dtype));
  tensors.emplace_back("bool", bytes.gt(100));
  tensors.emplace_back("scalar", at::scalar_tensor(3.5));
  tensors.emplace_back("empty", at::empty({0, 7}));
  save_safetensors(path, tensors, {{"kind", "test \xc3\xa9"}});

  const TensorFile loaded = load_safetensors(path);
  EXPECT_EQ(loaded.metadata.at("kind"), "test \xc3\xa9");
  ASSERT_EQ(loaded.tensors.size(), tensors.size());
  std::map<std::string, Tensor> found(loaded.tensors.begin(), loaded.tensors.end());
  for (const auto& [name, tensor] : tensors) {
    const Tensor& other = found.at(name);
    EXPECT_EQ(other.sizes(), tensor.sizes()) << name;
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    const Tensor whole = tensor.contiguous();
    EXPECT_EQ(bytes_of(other), bytes_of(whole)) << name;
  }
}

TEST_F(SafetensorsFile, SameTensorsGiveTheSameBytesAndAnAlignedFile) {
  const NamedTensors tensors = {{"bytes", at::arange(3).to(at::kByte)},
                                {"transposed", at::arange(6.).view({2, 3}).t()}};
  save_safetensors(path, tensors, {{"a", "1"}, {"b", "2"}});
  const std::string first = read_file(path);
  save_safetensors(path, tensors, {{"b", "2"}, {"a", "1"}});
  EXPECT_EQ(read_file(path), first);
  EXPECT_EQ(parse_header(first).data_offset % 8, 0u);
  const auto loaded = load_safetensors(path).tensors;
  EXPECT_EQ(loaded[0].first, "transposed");
  EXPECT_TRUE(loaded[0].second.equal(at::arange(6.).view({2, 3}).t()));
}

TEST_F(SafetensorsFile, TensorsOutliveTheFileAndItsOtherTensors) {
  save_safetensors(path, {{"a", at::arange(1000)}, {"b", at::arange(1000)}});
  Tensor kept = load_safetensors(path).tensors.at(0).second;
  fs::remove(path);
  EXPECT_TRUE(kept.equal(at::arange(1000)));
}

TEST_F(SafetensorsFile, WritingToATensorLeavesTheFile) {
  save_safetensors(path, {{"a", at::zeros(1000)}});
  load_safetensors(path).tensors.at(0).second.fill_(1);
  EXPECT_TRUE(load_safetensors(path).tensors.at(0).second.equal(at::zeros(1000)));
}

TEST_F(SafetensorsFile, ReadsMisalignedTensors) {
  const std::string data("\0\0\0\0\0\0\x80\x3f", 8);
  write_file(path, file_of("{" + tensor("a", "[2]", 0, 8) + "}", data));  // the data is at byte 65
  const Tensor found = load_safetensors(path).tensors.at(0).second;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(found.const_data_ptr()) % 4, 0u);
  EXPECT_TRUE(found.equal(at::arange(2).to(at::kFloat)));
}

TEST_F(SafetensorsFile, RefusesToWriteWhatCannotBeRead) {
  const Tensor x = at::zeros(1);
  EXPECT_THROW(save_safetensors(path, {{"a", x}, {"a", x}}), Error);
  EXPECT_THROW(save_safetensors(path, {{"__metadata__", x}}), Error);
  EXPECT_THROW(save_safetensors(path, {{"\xff", x}}), Error);
  EXPECT_THROW(save_safetensors(path, {{"a", x.to(at::kComplexDouble)}}), Error);
  EXPECT_FALSE(fs::exists(folder));
}

}  // namespace
}  // namespace tiller
