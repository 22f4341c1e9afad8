#include <gtest/gtest.h>

#include <fstream>

#include "io/error.h"
#include "io/tensor_file.h"

namespace tiller {
namespace {

using namespace std::string_literals;

/// What loading a file of these bytes says.
std::string message_for(const std::string& bytes, const std::string& ending = ".safetensors") {
  const fs::path path = fs::path(testing::TempDir()) / ("impostor" + ending);
  std::ofstream(path, std::ios::binary) << bytes;
  std::string message;
  try {
    load_tensors(path);
  } catch (const Error& error) {
    message = error.what();
  }
  fs::remove(path);
  EXPECT_EQ(message.find('\n'), message.npos) << message;
  return message;
}

struct Impostor {
  const char* name;
  std::string bytes;
  const char* expected;
};

class EveryImpostor : public testing::TestWithParam<Impostor> {};

TEST_P(EveryImpostor, IsNamed) {
  for (const char* ending : {".safetensors", ".ckpt"}) {
    const std::string message = message_for(GetParam().bytes, ending);
    EXPECT_NE(message.find(GetParam().expected), message.npos) << message;
  }
}

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa\n"
    "size 4265146304\n";
const std::string kFill(400, 'x');

INSTANTIATE_TEST_SUITE_P(
    Kinds, EveryImpostor,
    testing::Values(Impostor{"Empty", "", "an empty file"},
                    Impostor{"Pointer", kPointer, "a Git LFS pointer to a file of 4.27 GB"},
                    Impostor{"PointerWithoutSize", kPointer.substr(0, 60),
                             "a Git LFS pointer to a file instead"},
                    Impostor{"Page", "\n <!DOCTYPE html><html lang=\"en\">" + kFill, "a web page"},
                    Impostor{"PageInCapitals", "<HTML><BODY>404" + kFill, "a web page"},
                    Impostor{"Refusal", "{\"error\": \"Access to model is restricted\"}",
                             "JSON text"},
                    Impostor{"CutZip", "PK\x03\x04\x00\x00\x08\x08"s + kFill, "is cut off"},
                    Impostor{"Onnx",
                             "\x08\x07\x12\x07pytorch\x1a\x05"
                             "1.13.1"s +
                                 kFill,
                             "an ONNX model"},
                    Impostor{"Hdf5", "\x89HDF\r\n\x1a\n"s + kFill, "an HDF5 file"},
                    Impostor{"Gzip", "\x1f\x8b\x08\0\0\0\0\0\0"s + kFill, "a gzip archive"},
                    Impostor{"Tar", std::string(257, 'a') + "ustar" + kFill, "a tar archive"},
                    Impostor{"Zeros", std::string(5000, '\0'), "begins with zeros"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Impostor, IsNoArchiveOfOtherThings) {
  for (const char* name : {"document.zip", "flat.zip"}) {
    const auto path = fs::path(TILLER_FIXTURES) / "tensor_files" / name;
    try {
      load_tensors(path);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("torch.save"), std::string::npos) << error.what();
    }
  }
}

/// A safetensors header may be as long as another format's mark is written.
TEST(Impostor, IsNoSafetensorsFileWithAHeaderOfAnUnluckySize) {
  const auto path = fs::path(testing::TempDir()) / "unlucky.safetensors";
  std::string header = R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  header.resize(0x8b1f, ' ');
  std::ofstream(path, std::ios::binary) << "\x1f\x8b\0\0\0\0\0\0"s << header << 'x';
  EXPECT_EQ(load_tensors(path).tensors.size(), 1u);
  fs::remove(path);
}

}  // namespace
}  // namespace tiller
