#pragma once
/// Whole-program tests: a temporary folder with a tiny model, and the program run in it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/image.h"
#include "io/safetensors.h"
#include "models/adm_unet.h"

namespace tiller::test {

using Json = nlohmann::json;

/// What a run of the program left.
struct Result {
  int code;
  std::string out, err;
};

inline Json tiny_config() {
  return {{"image_size", 16},
          {"num_channels", 32},
          {"num_res_blocks", 1},
          {"channel_mult", "1,2"},
          {"num_heads", 2},
          {"attention_resolutions", "8"},
          {"class_cond", true},
          {"learn_sigma", true},
          {"null_label", true},
          {"num_classes", 3},
          {"class_names", {"ant", "bee", "cat"}}};
}

/// A network whose every tensor is random, so that labels and guidance matter.
inline NamedTensors tiny_weights(const Json& config) {
  Weights weights(1);
  const auto network = adm_unet(adm_config(config, "config.json"), weights);
  auto generator = at::detail::createCPUGenerator(5);
  NamedTensors tensors = weights.finish();
  for (auto& [name, tensor] : tensors)
    tensor = tensor + 0.05 * at::randn(tensor.sizes(), generator, at::kFloat);
  return tensors;
}

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder =
        fs::temp_directory_path() / ("tiller-" + std::to_string(getpid()) + "-" + test->name());
    fs::create_directories(folder);
    make_model("model", tiny_config());
  }
  void TearDown() override { fs::remove_all(folder); }

  void make_model(const std::string& name, const Json& config) {
    fs::create_directories(folder / name);
    write_file(folder / name / "config.json", config.dump());
    save_safetensors(folder / name / "model.safetensors", tiny_weights(config));
  }

  /// Runs `tiller ARGUMENTS` in the folder, through a shell.
  Result tiller(const std::string& arguments) const {
    const std::string command = "cd '" + folder.string() + "' && OMP_NUM_THREADS=1 '" +
                                TILLER_PROGRAM + "' " + arguments + " 2>.stderr";
    Result result{-1, "", ""};
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.out.append(buffer, n);
    const int status = pclose(pipe);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    result.err = read_file(folder / ".stderr");
    fs::remove(folder / ".stderr");
    return result;
  }

  /// As above, and succeeds.
  Result must(const std::string& arguments) const {
    const Result result = tiller(arguments);
    EXPECT_EQ(result.code, 0) << arguments << ": " << result.err;
    return result;
  }

  /// A run that must fail with one line which holds `expected`.
  void expect_refused(const std::string& arguments, const std::string& expected) const {
    const Result result = tiller(arguments);
    EXPECT_NE(result.code, 0) << arguments;
    EXPECT_NE(result.err.find(expected), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }

  /// Of random pixels, 8 bits.
  void write_picture(const std::string& name, int64_t height, int64_t width,
                     uint64_t seed = 3) const {
    auto generator = at::detail::createCPUGenerator(seed);
    write_png(folder / name, at::randint(0, 256, {3, height, width}, generator, at::kByte));
  }
  void write_picture(const std::string& name, int64_t side) const {
    write_picture(name, side, side, uint64_t(side));
  }

  /// `tiller generate` with the tiny model and 3 steps; must succeed.
  Result generate(const std::string& arguments) const {
    const Result result = tiller("generate --model model --steps 3 --quiet " + arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return result;
  }

  std::string bytes(const std::string& name) const { return read_file(folder / name); }

  Tensor latents(const std::string& name) const {
    return load_safetensors(folder / name).tensors.at(0).second.clone();
  }

  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      names.push_back(entry.path().lexically_relative(folder).string());
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path folder;
};

}  // namespace tiller::test
