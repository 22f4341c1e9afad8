/// What models of every kind learn from pairs of noise and samples.
#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "models/model.h"
#include "tests/training/pipeline_runs.h"
#include "training/batches.h"

namespace tiller::test {
namespace {

class Pairs : public PipelineRuns {
 protected:
  using Metadata = std::map<std::string, std::string>;

  /// Six pairs of two classes in "pairs.safetensors", random. left_out: a tensor.
  void write_pairs(int64_t channels, int64_t size, const Metadata& metadata = {},
                   const std::string& left_out = "") const {
    auto generator = at::detail::createCPUGenerator(7);
    NamedTensors tensors;
    for (const char* name : {"noise", "samples"})
      tensors.emplace_back(name, at::randn({6, channels, size, size}, generator, at::kFloat));
    tensors.emplace_back("labels", at::tensor({0, 1, 0, 1, 0, 1}, at::kLong));
    std::erase_if(tensors, [&](const auto& tensor) { return tensor.first == left_out; });
    save_safetensors(root / "pairs.safetensors", tensors, metadata);
  }

  /// Of any images: it only has to be there.
  void make_vae() const {
    for (int i = 0; i < 6; ++i) write("data/" + std::to_string(i) + ".png", square(i));
    train_vae();
  }

  static Metadata captions(int count = 6) {
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) texts.push_back("a picture of " + std::to_string(i % 2));
    return {{"captions", Json(texts).dump()}};
  }

  TrainOptions options(const Json& config) const {
    TrainOptions options = short_run("run");
    options.data = root / "pairs.safetensors";
    options.config = config;
    options.input_perturbation = 0;
    return options;
  }

  /// Of latents or pixels, and of classes or text.
  Json pipeline(bool latents, bool text) const {
    Json config = {{"unet", latents ? tiny_unet(4, 4) : tiny_unet(8, 3)},
                   {"scheduler", {{"_class_name", "FlowMatchEulerDiscreteScheduler"}}}};
    if (latents) config["vae"] = (root / "vae").string();
    if (text) {
      config["tokenizer"] = TILLER_FIXTURES "/clip_tokenizer/vocab";
      config["text_encoder"] = tiny_text_encoder();
    }
    return config;
  }

  /// A fresh network answers 0, so that its loss is the target's square: noise - sample, of the
  /// pair as the file has it.
  void expect_the_files_pairs(const Json& config) const {
    const TrainOptions run = options(config);
    const auto task = train_task(run);
    const auto file = load_safetensors(run.data);
    Tensor noise, samples;
    for (const auto& [name, tensor] : file.tensors) {
      if (name == "noise") noise = tensor;
      if (name == "samples") samples = tensor;
    }
    Dataset data{.images = samples, .noise = noise};
    const Tensor order = Batches(data, run).indices(0);
    const Tensor expected = (noise - samples).square().mean({1, 2, 3}).index_select(0, order);
    const Tensor losses = task->losses(0, {0, 6});
    EXPECT_TRUE(at::allclose(losses, expected, 1e-5, 1e-6)) << losses << expected;
  }

  void expect_mistake(const Json& config, const std::string& expected) const {
    const std::string said = failure(options(config));
    EXPECT_NE(said.find(expected), std::string::npos) << said;
    EXPECT_FALSE(fs::exists(root / "run"));
  }
};

TEST_F(Pairs, AreLearnedAsTheyAreInLatentsAndPixels) {
  make_vae();
  write_pairs(4, 4, captions());
  expect_the_files_pairs(latent_adm("flow"));
  expect_the_files_pairs(pipeline(/*latents=*/true, /*text=*/false));
  expect_the_files_pairs(pipeline(true, true));
  write_pairs(3, 8, captions());
  expect_the_files_pairs(pipeline(false, false));
  expect_the_files_pairs(pipeline(false, true));
}

TEST_F(Pairs, OfLatentsTeachAModelThatDecodes) {
  make_vae();
  write_pairs(4, 4);
  TrainOptions run = options(latent_adm("flow"));
  run.log_every = 50;
  run.save_every = 1000;
  run.sample_every = 200;
  train_to(200, run);
  EXPECT_LT(loss_at("run", 3), 0.8 * loss_at("run", 0));
  const Tensor grid = read_image(root / "run/samples/step-200.png");
  EXPECT_GE(grid.size(1), 2 * 8);
  EXPECT_GE(grid.size(2), 8 * 8);
  const Model model = load_model(root / "run");
  EXPECT_TRUE(model.vae);
  EXPECT_EQ(model.image_size, 8);
}

TEST_F(Pairs, OfTextTeachAPipeline) {
  write_pairs(3, 8, captions());
  TrainOptions run = options(pipeline(/*latents=*/false, /*text=*/true));
  run.log_every = 50;
  run.save_every = 1000;
  train_to(150, run);
  EXPECT_LT(loss_at("run", 2), 0.8 * loss_at("run", 0));
}

/// Though only some of them were drawn.
TEST_F(Pairs, NameTheModelsClasses) {
  write_pairs(3, 8, {{"class_names", R"(["ant", "bee", "cat"])"}});
  EXPECT_EQ(failure(options(pipeline(/*latents=*/false, /*text=*/false))), "");
  EXPECT_EQ(load_model(root / "run").class_names, (std::vector<std::string>{"ant", "bee", "cat"}));
}

TEST_F(Pairs, ThatDontFitAreRefused) {
  make_vae();
  Json adm = latent_adm("flow");
  write_pairs(4, 8);
  expect_mistake(adm, "samples: got Float [6, 4, 8, 8], expected float32 (images, channels, 4, 4)");
  write_pairs(3, 4);
  const std::string channels = "pairs.safetensors: got pairs of 3 channels, expected the 4 of the";
  expect_mistake(adm, channels);
  expect_mistake(pipeline(/*latents=*/true, /*text=*/false), channels);
  write_pairs(4, 4, {}, "labels");
  expect_mistake(adm, "class_cond: got true, but");
  expect_mistake(pipeline(true, false), "got pairs without classes, expected some");
  expect_mistake(pipeline(true, true), "got pairs without captions, expected those of a");
  adm["prediction_type"] = "v_prediction";
  expect_mistake(adm, "--data: got pairs of noise and samples with prediction_type v");
  Json velocity = pipeline(true, true);
  velocity["scheduler"] = velocity_scheduler();
  expect_mistake(velocity, "pairs teach flows");
  expect_mistake(Json::parse(read_file(root / "vae/config.json")), "pairs teach flows");
}

TEST_F(Pairs, WithDamagedTextsAreRefused) {
  const Json config = pipeline(/*latents=*/false, /*text=*/true);
  write_pairs(3, 8, captions(5));
  expect_mistake(config, "captions: got 5, expected 6, one a pair.");
  for (const char* damaged : {"a picture", "[1, 2]", R"({"a": "b"})"}) {
    write_pairs(3, 8, {{"captions", damaged}});
    expect_mistake(config, "expected a JSON list of texts.");
  }
  write_pairs(3, 8, {{"class_names", R"(["ant"])"}});
  expect_mistake(pipeline(false, false), "class_names: got 1, expected labels below that.");
}

TEST_F(Pairs, ArentCached) {
  write_pairs(3, 8);
  TrainOptions run = options(pipeline(/*latents=*/false, /*text=*/false));
  run.data_cache = root / "cache";
  EXPECT_EQ(refusal(run), "--data-cache: got pairs, which are held in memory, expected images.");
  EXPECT_FALSE(fs::exists(root / "cache"));
}

}  // namespace
}  // namespace tiller::test
