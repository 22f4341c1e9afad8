#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// Files of `tiller invert` and `generate --save-inversion`: what they promise and refuse.
class InversionFile : public Pipelines {
 protected:
  void SetUp() override {
    Pipelines::SetUp();
    write_picture("in.png", 16, 16);
  }

  /// Of the tiny ADM, as i.safetensors.
  void invert(const std::string& more = "") const {
    must(
        "invert --quiet --model model --class cat --image in.png --steps 4 --output "
        "i.safetensors " +
        more);
  }

  void invert_pipeline(const std::string& more = "") {
    make_pipeline("sd1");
    write_picture("fox.png", 64, 64);
    must(
        "invert --quiet --model sd1 --prompt fox --image fox.png --steps 2 --dtype float32 "
        "--output i.safetensors " +
        more);
  }

  /// Writes a file with other tensors or another recipe.
  void change(const std::string& from, const std::string& to,
              const std::function<void(NamedTensors&, Json&)>& by) const {
    TensorFile file = load_safetensors(folder / from);
    Json recipe = Json::parse(file.metadata.at("tiller"));
    NamedTensors tensors;
    for (const auto& [name, tensor] : file.tensors) tensors.emplace_back(name, tensor.clone());
    by(tensors, recipe);
    file.metadata["tiller"] = recipe.dump();
    save_safetensors(folder / to, tensors, file.metadata);
  }

  /// One unit of the lattice more in one number.
  void nudge(const std::string& from, const std::string& to) const {
    change(from, to, [](NamedTensors& tensors, Json&) {
      for (auto& [name, tensor] : tensors)
        if (name == "latents") tensor.view(-1)[5] += 1;
    });
  }

  Tensor tensor_of(const std::string& file, const std::string& name) const {
    const auto tensors = load_safetensors(folder / file).tensors;
    const auto found =
        std::ranges::find(tensors, name, [](const auto& named) { return named.first; });
    return found == tensors.end() ? Tensor() : found->second.clone();
  }
};

constexpr const char* kAgain = "generate --inversion i.safetensors --output y.png ";

TEST_F(InversionFile, OtherPartsOfAPipelineAreRefused) {
  invert_pipeline();
  must(kAgain + std::string("--quiet"));
  for (const std::string part : {"text_encoder", "vae"}) {
    const fs::path file = folder / "sd1" / part / "model.safetensors";
    const std::string before = read_file(file);
    NamedTensors tensors = tensors_of("sd1/" + part);
    tensors.front().second.add_(0.25);
    save_safetensors(file, tensors);
    expect_refused(kAgain, "got another " + part + " (hash ");
    write_file(file, before);
  }
  write("sd1/tokenizer/tokenizer_config.json", "{}");
  expect_refused(kAgain, "got another tokenizer (hash ");
  change("i.safetensors", "i.safetensors",
         [](NamedTensors&, Json& recipe) { recipe["model"].erase("parts"); });
  must(kAgain + std::string("--quiet"));  // as older files are
}

TEST_F(InversionFile, AnotherFileBehindAFlagIsRefused) {
  make_pipeline("sd1");
  fs::copy(folder / "sd1" / "vae", folder / "own-vae");
  invert_pipeline("--vae own-vae");
  must(kAgain + std::string("--quiet"));
  NamedTensors tensors = tensors_of("own-vae");
  tensors.front().second.add_(0.25);
  save_safetensors(folder / "own-vae" / "model.safetensors", tensors);
  expect_refused(kAgain, "got another own-vae (hash ");
}

TEST_F(InversionFile, ChangedLatentsAreTold) {
  must(
      "generate --quiet --model model --class ant --steps 4 --sampler bdia --output x.png "
      "--save-inversion i.safetensors");
  nudge("i.safetensors", "j.safetensors");
  const std::string back = "invert --output n.safetensors --inversion ";
  EXPECT_NE(must(back + "i.safetensors").err.find("came back to the bit"), std::string::npos);
  EXPECT_EQ(Json::parse(must(back + "i.safetensors --json").out).at("exact"), true);
  EXPECT_EQ(Json::parse(must(back + "j.safetensors --json").out).at("exact"), false);
  EXPECT_TRUE(must(back + "j.safetensors --quiet").err.starts_with("The noise isn't the one"));
  invert();
  nudge("i.safetensors", "j.safetensors");
  EXPECT_EQ(must("generate --quiet --inversion i.safetensors --output y.png").err, "");
  EXPECT_TRUE(must("generate --quiet --inversion j.safetensors --output y.png")
                  .err.starts_with("The latents aren't those"));
}

/// What direct inversion keeps leads from noise to the image and not the other way; nor is DDIM
/// exact.
TEST_F(InversionFile, OnlyExactWaysPromiseAnything) {
  for (const std::string sampler :
       {"ddim", "direct", "bdia:lattice=off", "ddpm-inversion", "ledits++"}) {
    SCOPED_TRACE(sampler);
    const Result made =
        must("generate --model model --class ant --steps 4 --output x.png --sampler " + sampler +
             " --save-inversion i.safetensors");
    EXPECT_NE(made.err.find("isn't exact with " + sampler.substr(0, sampler.find(':'))),
              std::string::npos)
        << made.err;
    const Result back = must("invert --json --inversion i.safetensors --output n.safetensors");
    EXPECT_FALSE(Json::parse(back.out).contains("exact"));
    EXPECT_EQ(back.err, "");
  }
}

TEST_F(InversionFile, ALostPartnerIsMissed) {
  invert();
  change("i.safetensors", "j.safetensors", [](NamedTensors& tensors, Json&) {
    std::erase_if(tensors, [](const auto& named) { return named.first == "partner"; });
  });
  expect_refused("generate --inversion j.safetensors --output y.png", "got no tensor `partner`");
}

TEST_F(InversionFile, ARunFromNoiseCanBeInvertedAgain) {
  invert("--sampler bdia:gamma=0.9375");
  must(kAgain + std::string("--quiet --save-inversion j.safetensors"));
  const Result back = must("invert --json --inversion j.safetensors --output k.safetensors");
  EXPECT_EQ(Json::parse(back.out).at("exact"), true);
  for (const char* name : {"latents", "partner"})
    EXPECT_TRUE(at::equal(tensor_of("i.safetensors", name), tensor_of("k.safetensors", name)));
}

TEST_F(InversionFile, WhatDiffersIsNamedByWhatItIs) {
  invert();
  must(kAgain + std::string("--quiet --class cat"));
  expect_refused(kAgain + std::string("--class bee"),
                 "got --class bee, expected cat as the file was made with. `tiller edit` changes");
  expect_refused(kAgain + std::string("--batch 7"), " as the file was made with.\n");
  expect_refused(kAgain + std::string("--count 7"), "got count 7");
  make_pipeline("sd1");
  expect_refused(kAgain + std::string("--model sd1"), "got the model model.safetensors (hash ");
  invert_pipeline();
  must(kAgain + std::string("--quiet --prompt fox"));
  expect_refused(kAgain + std::string("--prompt cat"), "got prompts [\"cat\"], expected [\"fox\"]");
  expect_refused(kAgain + std::string("--model model"), "got the model model.safetensors (hash ");
}

TEST_F(InversionFile, InvertSaysWhatItLacks) {
  const std::string run = "invert --model model --steps 4 --image ";
  expect_refused(run + "in.png",
                 "--class: got none of the model's 3, expected what the image shows");
  write_picture("odd.png", 16, 15);
  expect_refused(
      run + "odd.png --class cat",
      "--image: got 15x16 pixels, expected each side a multiple of 2. --size 16x16 scales");
  expect_refused(run + "odd.png --class cat --size 15", "--size: got 15, expected a multiple of 2");
  invert();
  expect_refused("invert --inversion i.safetensors --refine-latent 3",
                 "--refine-latent: got --inv");
}

TEST_F(InversionFile, NoFileIsWrittenTwiceOrOverASource) {
  invert();
  const std::string run = "invert --model model --class cat --steps 4 --image in.png --output ";
  expect_refused(run + "a.safetensors --save-latents ./model/../a.safetensors",
                 "which is --output's file");
  expect_refused("invert --inversion i.safetensors --output i.safetensors",
                 "which is --inversion's file");
  fs::create_symlink("i.safetensors", folder / "link.safetensors");
  expect_refused("generate --inversion i.safetensors --save-latents link.safetensors",
                 "which is --inversion's file");
}

/// gamma^-steps is more than any lattice holds, or leaves more digits than an integer does.
TEST_F(InversionFile, TooManyStepsAreRefusedAtOnce) {
  expect_refused(
      "invert --model model --class cat --image in.png --steps 1000 --sampler bdia:gamma=0.9375",
      "sampler bdia: steps: got 1000, expected at most 504 with gamma 15/16");
  expect_refused(
      "generate --model model --class cat --steps 900 --sampler bdia:gamma=0.9 --output y.png",
      "sampler bdia: steps: got 900, expected at most 364 with gamma 9/10");
  expect_refused(
      "edit --model model --class cat --edit-class bee --image in.png --steps 1000 --edit-from 0.6 "
      "--sampler bdia:gamma=0.9375 --output y.png",
      "sampler bdia: steps: got 600");
}

TEST_F(InversionFile, IsOfOneRow) {
  const std::string rows =
      "generate --model model --class cat --steps 3 --sampler bdia --output y.png ";
  expect_refused(rows + "--compare none --compare cfg:scale=2 --save-inversion g.safetensors",
                 "--compare: got --save-inversion too");
  EXPECT_FALSE(fs::exists(folder / "g.safetensors"));
  invert();
  expect_refused(kAgain + std::string("--compare none"), "got compare [\"none\"], expected []");
  expect_refused("invert --inversion i.safetensors --compare none --output n.safetensors",
                 "--compare");
}

TEST_F(InversionFile, ValuesThatAreNoNumbersAreToldAtOnce) {
  const Result result = tiller(
      "invert --quiet --model model --class cat --image in.png --steps 900 --sampler edict:p=0.5 "
      "--output i.safetensors");
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("sampler edict: got values that aren't finite"), std::string::npos)
      << result.err;
  EXPECT_FALSE(fs::exists(folder / "i.safetensors"));
}

TEST_F(InversionFile, ClassesAndPromptsBeyondTheImagesAreRefused) {
  make_pipeline("sd1");
  write_picture("fox.png", 64, 64);
  expect_refused(
      "invert --model sd1 --prompt fox --prompt cat --image fox.png --steps 2 --output "
      "i.safetensors",
      "--prompt: got 2, expected no more than the images, which are 1");
  expect_refused(
      "invert --model model --class ant --class bee --image fox.png --steps 2 --output "
      "i.safetensors",
      "--class: got 2, expected no more than the images, which are 1");
}

}  // namespace
}  // namespace tiller::test
