#include "io/progress.h"
#include "metrics/feature_network.h"
#include "tests/tools/pipelines.h"
#include "tests/tools/resnet_weights.h"
#include "tests/training/dataset_files.h"
#include "tests/training/tiny_pipeline.h"
#include "tools/image_references.h"
#include "training/dataset.h"

namespace tiller::test {
namespace {

/// Runs of one step that measure distances by a CIFAR ResNet of random weights.
class TrainingDistance : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    save_random_resnet(folder / "resnet.safetensors");
    Json config = tiny_config();
    for (const char* key : {"num_classes", "class_names", "learn_sigma", "class_cond"})
      config.erase(key);
    write_file(folder / "config.json", config.dump());
  }

  /// A picture that isn't square, nor of the size that is trained.
  std::string picture(uint64_t seed) const {
    auto generator = at::detail::createCPUGenerator(seed);
    return encode_png(at::randint(0, 256, {3, 24, 40}, generator, at::kByte));
  }
  void write(const std::string& name, const std::string& bytes) const {
    fs::create_directories((folder / name).parent_path());
    write_file(folder / name, bytes);
  }

  static std::string train(const std::string& more) {
    return "train --quiet --model-config config.json --steps 1 --batch 2 --sample-every 0 "
           "--fd-every 1 --fd-samples 3 --fd-steps 1 "
           "--features cifar-resnet:weights=resnet.safetensors " +
           more;
  }

  FeatureNetworks networks() const {
    FeatureNetworks by;
    by.networks.push_back(
        load_features("cifar-resnet:weights=" + (folder / "resnet.safetensors").string()));
    by.keep.push_back({});
    return by;
  }

  std::vector<fs::path> references(const std::string& output) const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder / output / "reference"))
      files.push_back(entry);
    return files;
  }

  /// Whether the run's reference is what load_dataset makes of the data.
  void expect_trained_images(const std::string& data, const std::string& output) const {
    const auto files = references(output);
    ASSERT_EQ(files.size(), 1u);
    const Tensor images = load_dataset(folder / data, 16).images;
    const Tensor expected = networks().networks[0].run(images).pooled.to(at::kDouble).mean(0);
    for (const auto& [name, tensor] : load_safetensors(files[0]).tensors)
      if (name == "0.mean") {
        EXPECT_TRUE(at::allclose(tensor.to(at::kDouble), expected, 1e-4, 1e-5)) << data;
        return;
      }
    FAIL() << data << ": no mean";
  }
};

TEST_F(TrainingDistance, ComparesWithTheImagesAsTheyAreTrainedOn) {
  for (int i = 0; i < 3; ++i) write("images/" + std::to_string(i) + ".png", picture(i));
  fs::create_directories(folder / "shards");
  for (int i = 0; i < 2; ++i)
    write_archive(folder / "shards" / (std::to_string(i) + ".tar"),
                  {{"a.png", picture(2 * i)}, {"b.png", picture(2 * i + 1)}}, "none");
  std::string lines;
  for (int i = 0; i < 4; ++i) {
    const std::string name = std::to_string(i) + ".png";
    write("split/" + name, picture(i));
    lines +=
        Json({{"file_name", name}, {"text", "x"}, {"split", i == 3 ? "test" : "train"}}).dump();
    lines += "\n";
  }
  write("split/metadata.jsonl", lines);
  for (const std::string data : {"images", "shards", "split"}) {
    must(train("--data " + data + " --output run-" + data));
    expect_trained_images(data, "run-" + data);
  }
}

TEST_F(TrainingDistance, ReadsTheDataCache) {
  for (int i = 0; i < 3; ++i) write("images/" + std::to_string(i) + ".png", picture(i));
  must(train("--data images --output run --data-cache cache"));
  expect_trained_images("images", "run");
}

TEST_F(TrainingDistance, RemembersAReferenceOfEachSize) {
  write("images/a.png", picture(1));
  write("images/b.png", picture(2));
  write("images/a.txt", "an ant");
  write("images/b.txt", "a bee");
  Progress::set_quiet(true);
  int loads = 0;
  const auto reference = [&](int64_t size) {
    const auto load = [&, size] {
      ++loads;
      return load_dataset(folder / "images", size);
    };
    return remembered_reference(SizedImages{folder / "images", size, load}, networks(),
                                folder / "kept");
  };
  const ReferenceSet first = reference(16), again = reference(16);
  EXPECT_EQ(loads, 1);
  EXPECT_TRUE(first.features[0].moments->mean.equal(again.features[0].moments->mean));
  EXPECT_EQ(again.description.at("captions"), Json({"an ant", "a bee"}));
  const ReferenceSet other = reference(24);
  EXPECT_EQ(loads, 2);
  EXPECT_FALSE(first.features[0].moments->mean.equal(other.features[0].moments->mean));
}

TEST_F(TrainingDistance, PairsNeedAReference) {
  expect_refused(train("--data resnet.safetensors --output run"), "expected --fd-reference");
}

TEST(Spread, TakesFromAllOverTheList) {
  const std::vector<std::string> texts = {"a", "b", "c", "d", "e", "f"};
  EXPECT_EQ(spread(texts, 3), (std::vector<std::string>{"a", "c", "e"}));
  EXPECT_EQ(spread(texts, 9), texts);
  EXPECT_TRUE(spread({}, 3).empty());
}

class TextTrainingDistance : public TrainingDistance {
 protected:
  void SetUp() override {
    TrainingDistance::SetUp();
    for (const std::string name : {"ant", "bee", "cat"}) {
      write("images/" + name + ".png", picture(name[0]));
      write("images/" + name + ".txt", "a picture of a (" + name + ":1.5)");
    }
    config = {
        {"tokenizer", TILLER_FIXTURES "/clip_tokenizer/vocab"},
        {"unet", tiny_unet(8, 3)},
        {"text_encoder", tiny_text_encoder()},
        {"scheduler", {{"_class_name", "DDIMScheduler"}, {"beta_schedule", "squaredcos_cap_v2"}}}};
    write_file(folder / "config.json", config.dump());
  }
  double distance(const std::string& output) const {
    std::istringstream lines(bytes(output + "/log.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (const Json json = Json::parse(line); json.contains("fd_r14")) return json.at("fd_r14");
    return -1;
  }
  Json config;
};

/// The same as of a config that has the captions' words without weights as prompts.
TEST_F(TextTrainingDistance, CaptionsTakeThePromptsPlace) {
  const std::string command = train("--data images --save-every 1 --output ");
  must(command + "captions");
  EXPECT_GT(distance("captions"), 0);
  must(command + "captions");  // what is remembered has the captions too
  for (const char* name : {"ant", "bee", "cat"})
    config["prompts"].push_back("a picture of a \\(" + std::string(name) + ":1.5\\)");
  write_file(folder / "config.json", config.dump());
  must(command + "prompts");
  EXPECT_NEAR(distance("captions"), distance("prompts"), 1e-6 * distance("prompts"));
}

TEST_F(TextTrainingDistance, NeedsPromptsOrCaptions) {
  expect_refused(train("--data images --fd-reference images --output run"), "without prompts");
  for (const char* name : {"ant", "bee", "cat"})
    fs::remove(folder / "images" / (std::string(name) + ".txt"));
  expect_refused(train("--data images --output run"), "nor captions");
}

}  // namespace
}  // namespace tiller::test
