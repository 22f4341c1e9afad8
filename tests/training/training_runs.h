#pragma once
#include <ATen/Parallel.h>

#include "io/progress.h"
#include "tests/training/dataset_files.h"
#include "tests/training/tiny_pipeline.h"
#include "training/trainer.h"

/// Runs of the trainer and what they leave behind.
namespace tiller::test {

class TrainingRuns : public DatasetFiles {
 protected:
  using Json = nlohmann::json;

  TrainingRuns() {
    at::set_num_threads(1);
    Progress::set_quiet(true);
  }

  /// A short run on "data", without a config.
  TrainOptions short_run(const std::string& output) const {
    TrainOptions options;
    options.data = root / "data";
    options.output = root / output;
    options.config_file = "config.json";
    options.batch = 6;
    options.warmup = 2;
    options.learning_rate = 2e-3;
    options.log_every = 4;
    options.save_every = 3;
    options.sample_every = 0;
    options.seed = 5;
    return options;
  }

  /// An autoencoder of 8x8 pixels and 4x4x4 latents, hardly trained, in the folder "vae".
  void train_vae() const {
    TrainOptions vae = short_run("vae");
    vae.config = tiny_vae(8);
    train_to(1, vae);
  }

  /// Of a network of classes that works on that autoencoder's latents.
  Json latent_adm(const std::string& prediction) const {
    return {{"vae", (root / "vae").string()},
            {"image_size", 4},
            {"in_channels", 4},
            {"num_channels", 32},
            {"num_res_blocks", 1},
            {"channel_mult", "1"},
            {"attention_resolutions", "4"},
            {"class_cond", true},
            {"prediction_type", prediction}};
  }

  /// What a run throws; "": nothing.
  std::string failure(const TrainOptions& options) const {
    try {
      train_to(1, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  void train_to(int64_t steps, TrainOptions options) const {
    options.steps = steps;
    train(options);
  }

  /// What a run's log says, without what the clock says.
  std::vector<Json> log_of(const std::string& output) const {
    std::vector<Json> lines;
    std::ifstream file(root / output / "log.jsonl");
    for (std::string line; std::getline(file, line);) {
      Json json = Json::parse(line);
      json.erase("images_per_second"), json.erase("seconds");
      lines.push_back(json);
    }
    return lines;
  }

  /// files: what the runs saved, besides their states.
  void expect_same_run(const std::string& a, const std::string& b,
                       const std::vector<std::string>& files) const {
    EXPECT_EQ(log_of(a), log_of(b));
    EXPECT_EQ(read_file(root / a / "state.safetensors"), read_file(root / b / "state.safetensors"));
    for (const auto& name : files)
      EXPECT_EQ(read_file(root / a / name), read_file(root / b / name)) << name;
  }

  /// Trains to step 12 at once; and to step 8 with the last save at step 6, killed there, resumed.
  /// `whole.output` is the folder "whole".
  void expect_exact_resume(TrainOptions whole, const std::vector<std::string>& files) const {
    TrainOptions killed = whole, saved = whole;
    killed.output = root / "killed";
    saved.output = root / "saved";
    train_to(12, whole);
    train_to(8, killed);
    train_to(6, saved);
    std::vector<std::string> all = files;
    all.push_back("state.safetensors");
    for (const auto& name : all)
      fs::copy_file(saved.output / name, killed.output / name,
                    fs::copy_options::overwrite_existing);
    train_to(12, killed);
    EXPECT_EQ(log_of("whole").size(), size_t(12 / whole.log_every));
    expect_same_run("whole", "killed", files);
  }

  double loss_at(const std::string& output, size_t line) const {
    return log_of(output).at(line).at("loss").get<double>();
  }
};

}  // namespace tiller::test
