#include "io/gguf.h"

#include <gtest/gtest.h>

#include "io/error.h"
#include "io/quantized.h"
#include "io/safetensors.h"
#include "tests/gguf_file.h"

namespace tiller {
namespace {

using namespace test;
using namespace std::string_literals;

fs::path gguf_fixture(const std::string& name) {
  return fs::path(TILLER_FIXTURES) / "tensor_files" / name;
}

std::map<std::string, Tensor> gguf_map(const TensorFile& file) {
  return {file.tensors.begin(), file.tensors.end()};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const auto bits = [](const Tensor& x) { return x.contiguous().flatten().view(at::kByte); };
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && bits(a).equal(bits(b));
}

const std::vector<std::string> kQuantized = {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",   "Q2_K",
                                             "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};

/// make_gguf.py: what gguf-py makes of the blocks.
TEST(Gguf, GivesThePythonPackagesValuesToTheLastBit) {
  const auto expected = gguf_map(load_safetensors(gguf_fixture("types.safetensors")));
  const auto found = gguf_map(load_tensors(gguf_fixture("types.gguf")));
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& name : kQuantized) {
    EXPECT_EQ(found.at(name).sizes(), (at::IntArrayRef{3, 256}));
    EXPECT_TRUE(same_bits(found.at(name), expected.at(name))) << name;
  }
  for (const char* name : {"F64", "F32", "F16", "I8", "I16", "I32", "I64"})
    EXPECT_TRUE(same_bits(found.at(name), expected.at(name))) << name;
  EXPECT_EQ(found.at("BF16").scalar_type(), at::kBFloat16);
  EXPECT_TRUE(same_bits(found.at("BF16").to(at::kFloat), expected.at("BF16")));
}

TEST(Gguf, TakesTheShapeThatComfyUiKeepsBesideATensor) {
  const auto expected = gguf_map(load_safetensors(gguf_fixture("types.safetensors")));
  const TensorFile file = load_tensors(gguf_fixture("types.gguf"));
  EXPECT_EQ(gguf_map(file).at("conv").sizes(), (at::IntArrayRef{8, 4, 2, 4}));
  EXPECT_TRUE(same_bits(gguf_map(file).at("conv"), expected.at("conv")));
  for (const auto& [key, value] : file.metadata) EXPECT_FALSE(key.starts_with("comfy.")) << key;
}

TEST(Gguf, ReadsMetadataAsText) {
  const auto metadata = load_tensors(gguf_fixture("types.gguf")).metadata;
  EXPECT_EQ(metadata.at("general.architecture"), "sd1");
  EXPECT_EQ(metadata.at("test.float"), "0.100000001");
  EXPECT_EQ(metadata.at("test.bool"), "true");
  EXPECT_EQ(metadata.at("test.negative"), "-1099511627776");
  EXPECT_EQ(metadata.at("test.words"), "a, b");
  EXPECT_EQ(metadata.at("test.numbers"), "0, 1, 2, 3, 4, 5, 6, 7 and 12 more");
}

TEST(Gguf, KeepsQuantizedTensorsWithoutValues) {
  const auto mapped = gguf_map(map_tensors(gguf_fixture("types.gguf")));
  for (const auto& name : kQuantized) {
    EXPECT_TRUE(mapped.at(name).is_meta());
    EXPECT_EQ(mapped.at(name).scalar_type(), at::kFloat);
    EXPECT_EQ(quantization_of(mapped.at(name)), name);
  }
  EXPECT_EQ(quantization_of(mapped.at("F16")), "");
  EXPECT_EQ(quantization_of(at::empty({2}, at::kMeta)), "");
  EXPECT_EQ(quantization_of(Tensor()), "");
}

TEST(Gguf, RoundsOnceToTheDtypeThatIsWanted) {
  const auto mapped = gguf_map(map_tensors(gguf_fixture("types.gguf")));
  for (const auto& name : kQuantized)
    for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16})
      EXPECT_TRUE(
          same_bits(dequantized(mapped.at(name), dtype), dequantized(mapped.at(name)).to(dtype)))
          << name;
  const Tensor plain = mapped.at("F16");
  EXPECT_TRUE(dequantized(plain, at::kFloat).is_same(plain)) << "not this function's to cast";
}

TEST(Gguf, ReadsViewsOfQuantizedTensors) {
  const auto mapped = gguf_map(map_tensors(gguf_fixture("types.gguf")));
  for (const char* name : {"Q8_0", "Q5_K"}) {
    const Tensor lazy = mapped.at(name), whole = dequantized(lazy);
    const auto views = [](const Tensor& x) {
      return std::vector<Tensor>{
          x.t(),           x.chunk(3, 0)[2], x[1].narrow(0, 70, 100), x.view({6, 128}),
          x.unsqueeze(-1), x.narrow(0, 1, 0)};
    };
    const auto found = views(lazy), expected = views(whole);
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(quantization_of(found[i]), name) << i;
      EXPECT_TRUE(same_bits(dequantized(found[i]), expected[i])) << name << " " << i;
    }
  }
}

TEST(Gguf, DecodesLargeTensorsInPartsThatFitTogether) {
  const fs::path path = fs::path(testing::TempDir()) / "large.gguf";
  const Tensor values = at::arange(300 * 320).remainder(251).sub(125).view({300, 320}) * 0.25;
  save_gguf(path, {{"a.weight", values.to(at::kFloat)}, {"empty.weight", at::empty({0, 32})}});
  const auto found = gguf_map(map_tensors(path));
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf})
    EXPECT_LT((dequantized(found.at("a.weight"), dtype) - values).abs().max().item<double>(), 0.13);
  EXPECT_EQ(found.at("empty.weight").sizes(), (at::IntArrayRef{0, 32}));
  fs::remove(path);
}

TEST(Gguf, ReadsVersionTwoAndOtherAlignments) {
  GgufParts parts{{gguf_key("general.alignment", 4, raw(uint32_t(8)))},
                  {gguf_entry("a", {3}, 0, 0), gguf_entry("b", {2, 1}, 0, 16)},
                  std::string(24, 0),
                  2};
  const std::string bytes = gguf_bytes(parts, 8);
  const GgufHeader header = parse_gguf(std::as_bytes(std::span(bytes)), "x.gguf");
  ASSERT_EQ(header.entries.size(), 2u);
  EXPECT_EQ(header.entries[0].shape, (std::vector<int64_t>{3}));
  EXPECT_EQ(header.entries[1].shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(header.data_offset + 24, bytes.size());
}

struct RefusedGguf {
  const char* name;
  std::string bytes, message;  ///< message: what it must contain.
};

void PrintTo(const RefusedGguf& refused, std::ostream* out) { *out << refused.name; }

class GgufRefuses : public testing::TestWithParam<RefusedGguf> {};

TEST_P(GgufRefuses, WithOneLineThatNamesFileAndFault) {
  std::string message;
  try {
    parse_gguf(std::as_bytes(std::span(GetParam().bytes)), "x.gguf");
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.find("x.gguf: "), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

std::string one_gguf_key(const std::string& key) { return gguf_bytes({{key}, {}, ""}); }

std::string gguf_tensors(const std::vector<std::string>& entries, size_t bytes) {
  return gguf_bytes({{}, entries, std::string(bytes, 0)});
}

std::string one_gguf_tensor(const std::vector<uint64_t>& sizes, uint32_t type, size_t bytes) {
  return gguf_tensors({gguf_entry("a\n", sizes, type, 0)}, bytes);
}

std::string head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(keys);
}

constexpr uint64_t kHuge = uint64_t{1} << 62;

INSTANTIATE_TEST_SUITE_P(
    Headers, GgufRefuses,
    testing::Values(
        RefusedGguf{"Short", "GGUF\x03"s, "ends after 5 bytes"},
        RefusedGguf{"Magic", "GGUG" + std::string(40, 0), "begin with GGUF"},
        RefusedGguf{"VersionOne", head(0, 0, 1), "version 1 of GGUF"},
        RefusedGguf{"VersionFour", head(0, 0, 4), "version 4 of GGUF"},
        RefusedGguf{"BigEndian", head(0, 0, 0x03000000), "big-endian"},
        RefusedGguf{"ManyTensors", head(UINT64_MAX, 0), "18446744073709551615 tensors"},
        RefusedGguf{"ManyKeys", head(0, kHuge), "keys of metadata"},
        RefusedGguf{"LongKey", head(0, 1) + raw(UINT64_MAX) + std::string(40, 'a'),
                    "more from byte"},
        RefusedGguf{"KeyTooLong", one_gguf_key(gguf_key(std::string(2000, 'k'), 0, "a")),
                    "a key of metadata of 2000 bytes"},
        RefusedGguf{"LongText", one_gguf_key(gguf_key("k", 8, raw(kHuge))), "more from byte"},
        RefusedGguf{"UnknownValue", one_gguf_key(gguf_key("k", 13, "abcd")), "of type 13"},
        RefusedGguf{"LongList", one_gguf_key(gguf_key("k", 9, raw(uint32_t(4)) + raw(kHuge))),
                    "items of a list"},
        RefusedGguf{"LongListOfTexts",
                    one_gguf_key(gguf_key("k", 9, raw(uint32_t(8)) + raw(UINT64_MAX))),
                    "items of a list"},
        RefusedGguf{"ListOfLists",
                    one_gguf_key(gguf_key("k", 9, raw(uint32_t(9)) + raw(uint64_t(1)))),
                    "a list of type 9"},
        RefusedGguf{"KeyTwice",
                    gguf_bytes({{gguf_key("k", 0, "a"), gguf_key("k", 0, "a")}, {}, ""}),
                    "'k' twice"},
        RefusedGguf{"Alignment", one_gguf_key(gguf_key("general.alignment", 4, raw(48u))),
                    "a power of two"},
        RefusedGguf{"NoAlignment", one_gguf_key(gguf_key("general.alignment", 4, raw(0u))),
                    "a power of two"},
        RefusedGguf{"TextForAlignment",
                    one_gguf_key(gguf_key("general.alignment", 8, gguf_text("32"))),
                    "a power of two"},
        RefusedGguf{"ManyDimensions", one_gguf_tensor(std::vector<uint64_t>(9, 1), 0, 4),
                    "9 dimensions"},
        RefusedGguf{"Overflow", one_gguf_tensor({kHuge, 4}, 0, 4), "more than 2^60 values"},
        RefusedGguf{"OverflowBehindZero", one_gguf_tensor({0, kHuge, 4}, 0, 4),
                    "more than 2^60 values"},
        RefusedGguf{"NegativeSize", one_gguf_tensor({UINT64_MAX}, 0, 4), "more than 2^60 values"},
        RefusedGguf{"PartOfABlock", one_gguf_tensor({48, 2}, 8, 102), "a multiple of Q8_0's 32"},
        RefusedGguf{"ScalarInBlocks", one_gguf_tensor({}, 8, 34), "a multiple of Q8_0's 32"},
        RefusedGguf{"KnownType", one_gguf_tensor({32}, 9, 40), "type Q8_1"},
        RefusedGguf{"UnknownType", one_gguf_tensor({32}, 99, 40), "type number 99"},
        RefusedGguf{"NameTwice",
                    gguf_tensors({gguf_entry("a", {8}, 0, 0), gguf_entry("a", {8}, 0, 32)}, 64),
                    "'a' twice"},
        RefusedGguf{"Overlap",
                    gguf_tensors({gguf_entry("a", {16}, 0, 0), gguf_entry("b", {8}, 0, 32)}, 64),
                    "overlapping"},
        RefusedGguf{"Misaligned",
                    gguf_tensors({gguf_entry("a", {2}, 0, 0), gguf_entry("b", {2}, 0, 8)}, 64),
                    "misaligned"},
        RefusedGguf{"Gap",
                    gguf_tensors({gguf_entry("a", {8}, 0, 0), gguf_entry("b", {8}, 0, 64)}, 96),
                    "after a gap"},
        RefusedGguf{"HugePlace", gguf_tensors({gguf_entry("a", {8}, 0, UINT64_MAX - 31)}, 32),
                    "after a gap"},
        RefusedGguf{"CutOff", one_gguf_tensor({8}, 0, 31), "cut off"},
        RefusedGguf{"CutOffByFar", one_gguf_tensor({kHuge / 8}, 0, 31), "cut off"},
        RefusedGguf{"OtherShape",
                    gguf_bytes({{gguf_key("comfy.gguf.orig_shape.a", 9,
                                          raw(uint32_t(5)) + raw(uint64_t(1)) + raw(7))},
                                {gguf_entry("a", {8}, 0, 0)},
                                std::string(32, 0)}),
                    "product is the tensor's 8"},
        RefusedGguf{"ShapeOfText",
                    gguf_bytes({{gguf_key("comfy.gguf.orig_shape.a", 8, gguf_text("8"))},
                                {gguf_entry("a", {8}, 0, 0)},
                                std::string(32, 0)}),
                    "product is the tensor's 8"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Gguf, IsRefusedWithoutTensors) {
  const fs::path path = fs::path(testing::TempDir()) / "none.gguf";
  std::ofstream(path, std::ios::binary) << gguf_bytes({});
  EXPECT_THROW(load_tensors(path), Error);
  fs::remove(path);
}

}  // namespace
}  // namespace tiller
