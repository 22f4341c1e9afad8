#include "models/adm_config.h"
#include "models/model.h"
#include "tests/training/training_runs.h"

namespace tiller::test {
namespace {

/// The networks of DDPM-IP's published commands: image size, widths and attention's heads.
TEST(Configs, DdpmIpsAreReadable) {
  struct Published {
    const char* name;
    int64_t size, channels, head_channels;
    size_t levels;
  };
  for (const auto& [name, size, channels, head_channels, levels] :
       {Published{"cifar10", 32, 128, 32, 4}, Published{"imagenet32", 32, 128, 32, 4},
        Published{"lsun-tower64", 64, 192, 64, 4}, Published{"celeba64", 64, 192, 64, 4},
        Published{"ffhq128", 128, 256, 64, 5}}) {
    const std::string file =
        TILLER_SOURCE_DIR "/training/configs/ddpm-ip-" + std::string(name) + ".json";
    const AdmConfig config = adm_config(nlohmann::json::parse(read_file(file)), file);
    EXPECT_EQ(config.image_size, size);
    EXPECT_EQ(config.num_channels, channels);
    EXPECT_EQ(config.num_head_channels, head_channels);
    EXPECT_EQ(config.channel_mult.size(), levels);
    EXPECT_TRUE(config.learn_sigma && config.resblock_updown && config.use_new_attention_order);
    EXPECT_EQ(config.noise_schedule, "cosine");
  }
}

class PublishedConfigs : public TrainingRuns {};

/// The same network, of fewer channels and a quarter of the size: it trains, and the model loads.
TEST_F(PublishedConfigs, TakeAStep) {
  for (int i = 0; i < 6; ++i) write("data/" + std::to_string(i) + ".png", png(40 * i, 99, 10));
  for (const std::string name : {"cifar10", "imagenet32", "lsun-tower64", "celeba64", "ffhq128"}) {
    SCOPED_TRACE(name);
    TrainOptions run = short_run(name);
    run.config =
        Json::parse(read_file(TILLER_SOURCE_DIR "/training/configs/ddpm-ip-" + name + ".json"));
    const bool two = run.config["attention_resolutions"] == "16,8";
    run.config["attention_resolutions"] = two ? "4,2" : "8,4,2";
    run.config["image_size"] = run.config["image_size"].get<int64_t>() / 4;
    run.config["num_channels"] = run.config["num_head_channels"] = 32;
    run.config["num_res_blocks"] = 1;
    run.batch = 2, run.log_every = 1;
    train_to(1, run);
    EXPECT_TRUE(std::isfinite(loss_at(name, 0)));
    EXPECT_TRUE(load_model(run.output).learned_variance);
  }
}

}  // namespace
}  // namespace tiller::test
