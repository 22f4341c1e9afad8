#include "io/error.h"
#include "io/safetensors.h"
#include "metrics/clip_similarity.h"
#include "metrics/structure_distance.h"
#include "tests/metrics/pictures.h"

namespace tiller::test {
namespace {

Json reference(const char* part) { return fixture("reconstruction.json").at(part); }

class ClipFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("tiller-clip-" + std::to_string(getpid()));
    fs::create_directories(folder);
    write_file(folder / "config.json", clip.at("config").dump());
    write_file(folder / "vocab.json", fixture("pipelines.json").at("letters").dump());
    write_file(folder / "merges.txt", "#version: 0.2\n");
    write_file(folder / "tokenizer_config.json", R"({"model_max_length": 77})");
    NamedTensors tensors = formula_tensors(clip.at("shapes"));
    tensors.emplace_back("logit_scale", at::scalar_tensor(4.6, at::kFloat));
    save_safetensors(folder / "model.safetensors", tensors);
  }
  void TearDown() override { fs::remove_all(folder); }

  const Json clip = reference("clip");
  fs::path folder;
};

TEST_F(ClipFolder, SimilarityEqualsTransformers) {
  const at::NoGradGuard guard;
  const ClipSimilarity similarity(folder);
  for (const Json& test : clip.at("cases"))
    EXPECT_NEAR(similarity(picture_of(test), test.at("text")), test.at("score"), 1e-3)
        << test.at("text");
}

TEST_F(ClipFolder, WantsBothTowers) {
  write_file(folder / "config.json", clip.at("config").at("vision_config").dump());
  EXPECT_THROW(ClipSimilarity{folder}, Error);
}

NamedTensors vit() { return formula_tensors(reference("structure").at("shapes")); }

Tensor compared_image(const std::string& name) { return picture(name, 45, 61); }

TEST(StructureDistance, EqualsTimmsTransformer) {
  const at::NoGradGuard guard;
  const double expected = reference("structure").at("distance");
  const StructureDistance distance({vit(), {}}, "dino.pth");
  EXPECT_NEAR(distance(compared_image("structure a"), compared_image("structure b")), expected,
              1e-4 * expected);
  EXPECT_EQ(distance(compared_image("structure a"), compared_image("structure a")), 0);
}

TEST(StructureDistance, ReadsNamesOfTraining) {
  const at::NoGradGuard guard;
  NamedTensors tensors = vit();
  for (auto& [name, tensor] : tensors) name = "module.backbone." + name;
  const StructureDistance plain({vit(), {}}, "a"), wrapped({tensors, {}}, "b");
  const Tensor a = compared_image("structure a"), b = compared_image("structure b");
  EXPECT_EQ(plain(a, b), wrapped(a, b));
}

TEST(StructureDistance, NamesWhatIsMissing) {
  NamedTensors tensors = vit();
  std::erase_if(tensors, [](const auto& entry) { return entry.first == "blocks.1.attn.qkv.bias"; });
  try {
    StructureDistance({tensors, {}}, "dino.pth");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blocks.1.attn.qkv.bias"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(StructureDistance({{{"x", at::zeros({3})}}, {}}, "x.pth"), Error);
}

}  // namespace
}  // namespace tiller::test
