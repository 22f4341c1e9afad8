#include "io/tensor_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/error.h"
#include "io/safetensors.h"

namespace tiller {
namespace {

fs::path fixture_path(const std::string& name) {
  return fs::path(TILLER_FIXTURES) / "tensor_files" / name;
}

/// The values that make_tensor_files.py puts in its tensors.
Tensor values(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  const Tensor flat = (at::arange(c10::multiply_integers(shape)) * 7).remainder(23) - 11;
  return flat.view(shape).to(dtype);
}

std::map<std::string, Tensor> by_name(const fs::path& path) {
  const auto tensors = load_tensors(path).tensors;
  return {tensors.begin(), tensors.end()};
}

void expect_same(const Tensor& found, const Tensor& expected, const std::string& name) {
  EXPECT_EQ(found.sizes(), expected.sizes()) << name;
  ASSERT_EQ(found.scalar_type(), expected.scalar_type()) << name;
  const auto bytes = [](const Tensor& x) { return x.contiguous().flatten().view(at::kByte); };
  EXPECT_TRUE(bytes(found).equal(bytes(expected))) << name;
}

class EveryDtype : public testing::TestWithParam<const char*> {};

TEST_P(EveryDtype, IsReadAsPythonWroteIt) {
  const std::vector<std::pair<const char*, at::ScalarType>> dtypes = {
      {"float64", at::kDouble},
      {"float32", at::kFloat},
      {"float16", at::kHalf},
      {"bfloat16", at::kBFloat16},
      {"int64", at::kLong},
      {"int32", at::kInt},
      {"int16", at::kShort},
      {"int8", at::kChar},
      {"uint8", at::kByte},
      {"bool", at::kBool},
      {"float8_e4m3fn", at::kFloat8_e4m3fn},
      {"float8_e5m2", at::kFloat8_e5m2},
      {"uint16", at::kUInt16},
      {"uint32", at::kUInt32},
      {"uint64", at::kUInt64}};
  auto found = by_name(fixture_path(GetParam()));
  ASSERT_EQ(found.size(), dtypes.size());
  for (const auto& [name, dtype] : dtypes) expect_same(found.at(name), values({2, 3}, dtype), name);
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryDtype, testing::Values("dtypes.safetensors", "dtypes.pt"));

class ModuleState : public testing::TestWithParam<const char*> {};

TEST_P(ModuleState, IsReadInItsOrder) {
  const auto tensors = load_tensors(fixture_path(GetParam())).tensors;
  const std::vector<std::pair<std::string, std::vector<int64_t>>> expected = {
      {"0.weight", {3, 2, 3, 3}},
      {"0.bias", {3}},
      {"1.weight", {3}},
      {"1.bias", {3}},
      {"1.running_mean", {3}},
      {"1.running_var", {3}},
      {"1.num_batches_tracked", {}}};
  ASSERT_EQ(tensors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(tensors[i].first, expected[i].first);
    const auto dtype = i == 6 ? at::kLong : at::kFloat;
    expect_same(tensors[i].second, values(expected[i].second, dtype), expected[i].first);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ModuleState,
                         testing::Values("module.pt", "legacy.th", "protocol4.pt"));

TEST(TensorFile, ReadsMetadataOfSafetensors) {
  EXPECT_EQ(load_tensors(fixture_path("dtypes.safetensors")).metadata.at("made by"), "Python");
}

TEST(TensorFile, OpensStateDictAmongOtherThings) {
  for (const char* file : {"nested.pt", "lightning.ckpt"}) {
    const auto found = by_name(fixture_path(file));
    ASSERT_EQ(found.size(), 1u) << file;
    expect_same(found.at("w"), values({2, 3}), file);
  }
}

TEST(TensorFile, NamesWhatLiesInSeveralDictsSideBySide) {
  const auto found = by_name(fixture_path("two_dicts.pt"));
  ASSERT_EQ(found.size(), 2u);
  expect_same(found.at("image_proj.proj.weight"), values({2, 3}), "image_proj.proj.weight");
  expect_same(found.at("ip_adapter.w"), values({4}), "ip_adapter.w");
}

TEST(TensorFile, ReadsViewsAndParameters) {
  auto found = by_name(fixture_path("views.pt"));
  const Tensor base = values({4, 6});
  expect_same(found.at("transposed"), base.t(), "transposed");
  expect_same(found.at("column"), base.select(1, 2), "column");
  expect_same(found.at("tail"), base.slice(0, 2), "tail");
  expect_same(found.at("expanded"), values({1, 3}).expand({4, 3}), "expanded");
  expect_same(found.at("scalar"), values({1})[0], "scalar");
  expect_same(found.at("parameter"), base, "parameter");
  EXPECT_EQ(found.at("empty").sizes(), (at::IntArrayRef{0, 5}));
  EXPECT_FALSE(found.at("parameter").requires_grad());
}

TEST(TensorFile, ReadsTheHonestTwinOfTheDamagedOnes) {
  expect_same(by_name(fixture_path("honest.pt")).at("a"), values({4}).view({2, 2}), "a");
}

struct Damaged {
  const char *file, *message;
};

void PrintTo(const Damaged& damaged, std::ostream* out) { *out << damaged.file; }

class DamagedPickle : public testing::TestWithParam<Damaged> {};

TEST_P(DamagedPickle, IsRefusedInOneLine) {
  const fs::path path = fixture_path(GetParam().file);
  try {
    load_tensors(path);
    FAIL() << "was read";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find(path.string() + ": "), 0u) << message;
    EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_FALSE(fs::exists("broken.txt"));
}

INSTANTIATE_TEST_SUITE_P(
    Files, DamagedPickle,
    testing::Values(Damaged{"malicious.pt", "'posix.system'"},
                    Damaged{"malicious_legacy.pt", "'posix.system'"},
                    Damaged{"no_tensors.pt", "without a dict of tensors"},
                    Damaged{"beyond_storage.pt", "'a' goes beyond its storage"},
                    Damaged{"beyond_by_stride.pt", "'a' goes beyond its storage"},
                    Damaged{"beyond_by_offset.pt", "'a' goes beyond its storage"},
                    Damaged{"negative_stride.pt", "negative"},
                    Damaged{"negative_size.pt", "negative"},
                    Damaged{"overflow.pt", "'a' goes beyond its storage"},
                    Damaged{"storage_too_short.pt", "has 16 bytes, expected 20"}),
    [](const auto& info) { return fs::path(info.param.file).stem().string(); });

class CutFile : public testing::TestWithParam<const char*> {};

/// Cut anywhere and with any byte of its structure changed, a file is refused or read, without a
/// crash.
TEST_P(CutFile, NeverCrashes) {
  const std::string whole = read_file(fixture_path(GetParam()));
  const fs::path path = fs::path(testing::TempDir()) / ("cut_" + std::string(GetParam()));
  int refused = 0;
  const auto try_bytes = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      for (const auto& [name, tensor] : load_tensors(path).tensors)
        if (tensor.numel() < 1000) tensor.contiguous();
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  };
  for (size_t size = 0; size < whole.size(); size += 37) try_bytes(whole.substr(0, size));
  EXPECT_GE(refused, static_cast<int>(whole.size() / 37));
  for (size_t i = 0; i < whole.size(); i += 11) {
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x41);
    try_bytes(bytes);
  }
  fs::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Formats, CutFile,
                         testing::Values("module.pt", "legacy.th", "dtypes.safetensors",
                                         "types.gguf"));

TEST(TensorFile, RefusesOtherFiles) {
  EXPECT_THROW(load_tensors(fixture_path("missing.pt")), Error);
  EXPECT_THROW(load_tensors(TILLER_FIXTURES), Error);
  EXPECT_THROW(load_tensors(fs::path(TILLER_SOURCE_DIR) / "CMakeLists.txt"), Error);
}

}  // namespace
}  // namespace tiller
