#pragma once
/// Whole-program tests on tiny pipelines of the Stable Diffusion family.
#include <cstring>

#include "models/text_to_image.h"
#include "models/unet2d_condition.h"
#include "tests/models/formula.h"
#include "tests/tools/program.h"

namespace tiller::test {

/// `given` and, of the defaults ("--steps 3"), those whose flag isn't in it.
inline std::string with_defaults(const std::string& given,
                                 std::initializer_list<std::string> defaults) {
  std::string arguments = given;
  for (const auto& flag : defaults)
    if ((" " + given).find(" " + flag.substr(0, flag.find(' ') + 1)) == std::string::npos)
      arguments += " " + flag;
  return arguments;
}

/// Tiny pipelines of formula weights, as tests/reference/make_pipelines.py makes them.
class Pipelines : public ProgramTest {
 protected:
  const Json& fixture() const {
    static const Json json = test::fixture("pipelines.json");
    return json;
  }

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder / name).parent_path());
    write_file(folder / name, text);
  }

  void save_part(const std::string& path, const Json& config, const NamedTensors& tensors) const {
    write(path + "/config.json", config.dump());
    fill_by_formula(tensors);
    save_safetensors(folder / path / "model.safetensors", tensors);
  }

  template <class Build>
  void make_part(const std::string& path, const Json& config, const Build& build) const {
    Weights weights(uint64_t{0});
    build(config, weights);
    NamedTensors tensors = weights.finish();
    if (path.ends_with("text_encoder"))  // where transformers has no prefix
      for (auto& [tensor_name, tensor] : tensors) tensor_name.erase(0, strlen("text_model."));
    save_part(path, config, tensors);
  }

  void make_tokenizer(const std::string& path, const std::string& pad) const {
    write(path + "/vocab.json", fixture().at("letters").dump());
    write(path + "/merges.txt", "#version: 0.2\n");
    write(path + "/tokenizer_config.json",
          Json({{"pad_token", pad}, {"model_max_length", 77}}).dump());
  }

  void make_pipeline(const std::string& family) const {
    make_pipeline(family, fixture().at(family));
  }

  /// The folder `family` as the fixture's entry says.
  void make_pipeline(const std::string& family, const Json& entry) const {
    const Json& configs = entry.at("configs");
    Json index = {{"_class_name", entry.at("class")}};
    const auto text = [](const Json& c, Weights& w) { ClipText(c, w); };
    make_part(family + "/unet", configs.at("unet"),
              [](const Json& c, Weights& w) { unet2d_condition(c, w); });
    make_part(family + "/vae", configs.at("vae"),
              [](const Json& c, Weights& w) { AutoencoderKL(c, w); });
    make_part(family + "/text_encoder", configs.at("text_encoder"), text);
    make_tokenizer(family + "/tokenizer", family == "sd2" ? "!" : "<|endoftext|>");
    if (configs.contains("text_encoder_2")) {
      make_part(family + "/text_encoder_2", configs.at("text_encoder_2"), text);
      make_tokenizer(family + "/tokenizer_2", "!");
    }
    write(family + "/scheduler/scheduler_config.json", configs.at("scheduler").dump());
    for (const auto& [part, config] : configs.items()) index[part] = {"diffusers", "Part"};
    for (const std::string part : {"tokenizer", "tokenizer_2"})
      if (fs::exists(folder / family / part)) index[part] = {"transformers", "CLIPTokenizer"};
    write(family + "/model_index.json", index.dump());
  }

  /// "picture.png" and "mask.png", its left half, as the scripts' picture() and half_mask().
  void make_picture_and_mask() const {
    const Tensor picture = ((formula_tensor("picture", {64, 64, 3}) + 1) * 127.5).round();
    write_png(folder / "picture.png", picture.to(at::kByte).permute({2, 0, 1}).contiguous());
    Tensor mask = at::zeros({3, 64, 64}, at::kByte);
    mask.narrow(2, 0, 32).fill_(255);
    write_png(folder / "mask.png", mask);
  }

  /// The image of that name of make_controls.py.
  void make_image(const std::string& file, const std::string& name, int64_t height,
                  int64_t width) const {
    const int64_t h = (height + 4) / 5, w = (width + 4) / 5;
    const Tensor blocks = (formula_tensor(name, {h, w, 3}) * 128 + 128).clamp(0, 255).to(at::kByte);
    write_png(folder / file, blocks.repeat_interleave(5, 0)
                                 .repeat_interleave(5, 1)
                                 .slice(0, 0, height)
                                 .slice(1, 0, width)
                                 .permute({2, 0, 1})
                                 .contiguous());
  }

  std::string command(const std::string& family, const std::string& more) const {
    const std::string prompt = fixture().at("prompt"), negative = fixture().at("negative");
    return "generate --quiet --plain-prompt --device cpu --output y.png " +
           with_defaults(more, {"--model " + family, "--prompt '" + prompt + "'",
                                "--negative-prompt '" + negative + "'", "--seed 5", "--steps 10",
                                "--size 64", "--dtype float32", "--save-latents x.safetensors"});
  }

  /// The tensors of a part as its folder has them.
  NamedTensors tensors_of(const std::string& part) const {
    NamedTensors tensors = load_safetensors(folder / part / "model.safetensors").tensors;
    for (auto& [name, tensor] : tensors) tensor = tensor.clone();
    return tensors;
  }

  /// The latents' first numbers and sum against a run that the fixture records.
  static void expect_latents(const Tensor& got, const Json& run) {
    const auto head = run.at("head").get<std::vector<double>>();
    const double largest = run.at("largest");
    const Tensor first = got.flatten().narrow(0, 0, int64_t(head.size())).to(at::kDouble);
    EXPECT_LT((first - at::tensor(head, at::kDouble)).abs().max().item<double>() / largest, 1e-4);
    EXPECT_NEAR(got.to(at::kDouble).sum().item<double>(), run.at("sum"), 1e-3 * largest);
  }

  /// Latents of a run that must succeed.
  Tensor latents_of(const std::string& arguments) const {
    const Result result = tiller(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return latents("x.safetensors");
  }
};

}  // namespace tiller::test
