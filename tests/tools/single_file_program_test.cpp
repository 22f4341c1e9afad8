#include <torch/csrc/jit/serialization/pickle.h>

#include "tests/tools/ldm_pipeline.h"

namespace tiller::test {
namespace {

TEST_F(SingleFiles, ASafetensorsFileGivesTheLatentsOfTheFolder) {
  for (const std::string family : {"sd1", "sd2", "sdxl"}) {
    SCOPED_TRACE(family);
    make_pipeline(family);
    save_safetensors(folder / (family + ".safetensors"), ldm_tensors(family));
    const std::string how = "--guidance cfg:scale=5 --config " + family;
    const Tensor expected = latents_of(command(family, "--guidance cfg:scale=5"));
    EXPECT_LT(relative_error(latents_of(command(family + ".safetensors", how)), expected), 1e-5);
  }
}

/// The tiny pipeline's own factor is 0.13, SDXL's 0.13025, SD1's 0.18215.
TEST_F(SingleFiles, AnotherVaeHasTheFamilysScale) {
  make_pipeline("sdxl");
  NamedTensors whole = ldm_tensors("sdxl"), vae, bare;
  for (const auto& [name, tensor] : whole)
    (name.starts_with("first_stage_model.") ? vae : bare).emplace_back(name, tensor);
  save_safetensors(folder / "whole.safetensors", whole);
  save_safetensors(folder / "bare.safetensors", bare);
  save_safetensors(folder / "vae.safetensors", vae);
  const auto image = [&](const std::string& model) {
    EXPECT_EQ(tiller(command(model, "--config sdxl")).code, 0) << model;
    return read_image(folder / "y.png").to(at::kInt);
  };
  const Tensor expected = image("whole.safetensors --vae vae.safetensors");
  EXPECT_LE((image("bare.safetensors --vae vae.safetensors") - expected).abs().max().item<int>(),
            2);
}

TEST_F(SingleFiles, ACkptFileToo) {
  make_pipeline("sd1");
  c10::Dict<std::string, Tensor> state;
  for (const auto& [name, tensor] : ldm_tensors("sd1")) state.insert(name, tensor);
  const std::vector<char> pickle = torch::jit::pickle_save(state);
  write("sd1.ckpt", {pickle.begin(), pickle.end()});
  const Tensor expected = latents_of(command("sd1", ""));
  EXPECT_LT(relative_error(latents_of(command("sd1.ckpt", "--config sd1")), expected), 1e-5);
}

TEST_F(SingleFiles, InfoSaysWhatIsInIt) {
  make_pipeline("sd1");
  save_safetensors(folder / "sd1.safetensors", ldm_tensors("sd1"));
  const Result result = tiller("info sd1.safetensors --config sd1 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json.at("kind"), "text_to_image");
  const Json folder_json = Json::parse(tiller("info sd1 --json").out);
  EXPECT_EQ(json.at("parameters"), folder_json.at("parameters"));
  EXPECT_EQ(json.at("sites"), folder_json.at("sites"));
}

TEST_F(SingleFiles, WrongFilesAreRefused) {
  make_pipeline("sd1");
  save_safetensors(folder / "vae.safetensors", ldm_tensors("sd1"));
  expect_refused(command("vae.safetensors", "--config sd1/vae"), "no configs");
  write("page.safetensors", "<!DOCTYPE html><html><body>Sign in</body></html>");
  expect_refused(command("page.safetensors", ""), "web page");
  write("pointer.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  expect_refused(command("pointer.safetensors", ""), "Git LFS");
  const std::string whole = bytes("vae.safetensors");
  write("short.safetensors", whole.substr(0, whole.size() / 2));
  expect_refused(command("short.safetensors", ""), "short.safetensors");
}

}  // namespace
}  // namespace tiller::test
