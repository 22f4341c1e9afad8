#include "tests/tools/program.h"

namespace tiller::test {
namespace {

/// Runs that must fail: with the code, one line that has the words, and nothing written.
class Failure : public ProgramTest {
 protected:
  void expect(const std::string& arguments, int code, const std::vector<std::string>& words) {
    SCOPED_TRACE("tiller " + arguments);
    const auto before = listing();
    const Result result = tiller(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const auto& word : words)
      EXPECT_NE(result.err.find(word), std::string::npos) << word << " in: " << result.err;
    EXPECT_EQ(listing(), before);
  }
  void expect_generate(const std::string& arguments, int code,
                       const std::vector<std::string>& words) {
    expect("generate --model model --steps 2 --output out.png --save-latents out.safetensors " +
               arguments,
           code, words);
  }
  void replace_weights(const std::string& content) {
    write_file(folder / "model" / "model.safetensors", content);
  }
  void expect_bad_weights(const std::vector<std::string>& words) { expect_generate("", 1, words); }
};

/// A safetensors file of a header and some bytes.
std::string safetensors(const std::string& header, size_t data) {
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(data, '\0');
}

TEST_F(Failure, DamagedHeader) {
  replace_weights(safetensors("{\"a\": {\"dtype\": \"F32\", ", 4));
  expect_bad_weights({"model.safetensors"});
}

TEST_F(Failure, TruncatedFile) {
  const std::string whole = bytes("model/model.safetensors");
  replace_weights(whole.substr(0, whole.size() - 100));
  expect_bad_weights({"model.safetensors"});
  replace_weights(whole.substr(0, 5));
  expect_bad_weights({"model.safetensors"});
  replace_weights("");
  expect_bad_weights({"model.safetensors"});
}

TEST_F(Failure, OverlappingTensors) {
  replace_weights(safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                              R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                              12));
  expect_bad_weights({"model.safetensors", "b"});
}

TEST_F(Failure, WrongShape) {
  NamedTensors tensors = tiny_weights(tiny_config());
  for (auto& [name, tensor] : tensors)
    if (name == "out.0.weight") tensor = at::zeros({3});
  save_safetensors(folder / "model" / "model.safetensors", tensors);
  expect_bad_weights({"out.0.weight", "model.safetensors"});
}

TEST_F(Failure, MissingTensor) {
  NamedTensors tensors = tiny_weights(tiny_config());
  std::erase_if(tensors, [](const auto& tensor) { return tensor.first == "out.0.weight"; });
  save_safetensors(folder / "model" / "model.safetensors", tensors);
  expect_bad_weights({"out.0.weight", "model.safetensors"});
}

TEST_F(Failure, UnknownNames) {
  expect_generate("--sede 3", 2, {"--sede", "Did you mean '--seed'?"});
  expect_generate("--guidance tgp", 2, {"tgp", "Did you mean 'tpg'?"});
  expect_generate("--guidance tpg:scael=2", 2, {"scael", "Did you mean 'scale'?"});
  expect_generate("--guidance tpg:layers=d77", 2, {"d77"});
  expect_generate("--compare none --compare nonsense", 2, {"nonsense"});
  expect_generate("--class catt", 2, {"catt", "Did you mean 'cat'?"});
  expect_generate("--class 3", 2, {"3"});
  expect_generate("--sampler dimm", 2, {"dimm", "Did you mean 'ddim'?"});
  expect_generate("--sampler ddim:eta=x", 2, {"eta", "x"});
  expect_generate("--sampler ddim:spacing=odd", 2, {"odd"});
  expect("generte", 2, {"generte", "Did you mean 'generate'?"});
  expect("list sampler", 2, {"Did you mean 'samplers'?"});
}

TEST_F(Failure, ValuesOutOfRange) {
  expect_generate("--count 0", 2, {"--count", "0"});
  expect_generate("--count -1", 2, {"--count"});
  expect_generate("--steps 1.5", 2, {"--steps", "1.5"});
  expect_generate("--steps 2000", 2, {"2000"});
  expect_generate("--respacing ddim600", 2, {"ddim600"});
  expect_generate("--size 17", 2, {"--size", "17", "multiple of 2"});
  expect_generate("--seed 99999999999999999999", 2, {"--seed"});
  expect_generate("--dtype float8", 2, {"--dtype", "float8"});
  expect_generate("--device gpu", 2, {"--device", "gpu"});
  expect_generate("--share maybe", 2, {"--share"});
  expect_generate("--batch", 2, {"batch"});
  expect_generate("cat", 2, {"cat"});
  expect_generate("--guidance cfg --compare none", 2, {"--compare"});
}

TEST_F(Failure, PlacesThatCantBeWritten) {
  expect("generate --model model --output a.jpg", 2, {"a.jpg", ".png"});
  expect("generate --model model --output model/config.json/a.png", 1, {"config.json"});
  expect("generate --model model --output model --compare none", 2, {"--compare"});
  expect("generate --model model --output a.png --save-latents a.bin", 2, {"a.bin"});
  expect("generate --model model --output a.png --save-latents model", 2, {"model"});
  const std::string lengthy(300, 'a');
  expect("generate --model model --output " + lengthy + ".png", 1, {"a shorter name"});
  expect("info " + lengthy, 1, {"File name too long"});
}

TEST_F(Failure, ModelsThatArent) {
  expect("generate --model nowhere --output a.png", 1, {"nowhere"});
  write_file(folder / "model" / "config.json", "{");
  expect_generate("", 1, {"config.json"});
  write_file(folder / "model" / "config.json", R"({"block_out_channels": [32]})");
  expect_generate("", 2, {"text encoders"});
  Json config = tiny_config();
  config["num_chanels"] = 3;
  write_file(folder / "model" / "config.json", config.dump());
  expect_generate("", 1, {"num_chanels"});
}

TEST_F(Failure, LatentsWithoutTheirVae) {
  Json config = tiny_config();
  config.update({{"in_channels", 4}, {"learn_sigma", false}});
  make_model("model", config);
  expect_generate("", 1, {"4 channels without a VAE"});
}

TEST_F(Failure, RecipesThatArent) {
  write_png(folder / "plain.png", at::zeros({3, 4, 4}, at::kByte));
  expect("generate --from plain.png --output b.png", 1, {"plain.png"});
  write_png(folder / "odd.png", at::zeros({3, 4, 4}, at::kByte), {{"tiller", "{\"request\": 3}"}});
  expect("generate --from odd.png --output b.png", 1, {"odd.png"});
  write_file(folder / "text.png", "no picture");
  expect("generate --from text.png --output b.png", 1, {"text.png"});
  expect("info nowhere", 1, {"nowhere"});
  expect("info", 2, {"a model, an adapter, a tensor file or a PNG"});
}

TEST_F(Failure, RecipesWithForeignNumbers) {
  generate("--output a.png");
  PngText text = read_png_text(folder / "a.png");
  Json recipe = Json::parse(text.at("tiller"));
  const auto expect_refused = [&](const Json& changed, const std::string& word) {
    text["tiller"] = changed.dump();
    write_png(folder / "b.png", at::zeros({3, 4, 4}, at::kByte), text);
    expect("generate --from b.png --output c.png", 1, {word});
  };
  Json changed = recipe;
  changed["batch"]["labels"] = {12345};
  expect_refused(changed, "12345");
  changed = recipe;
  changed["request"]["count"] = -4;
  expect_refused(changed, "count");
  changed = recipe;
  changed["batch"]["row"] = 8;
  expect_refused(changed, "batch");
}

}  // namespace
}  // namespace tiller::test
