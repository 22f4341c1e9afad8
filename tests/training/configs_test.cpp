#include <gtest/gtest.h>

#include "io/file.h"
#include "models/adm_config.h"

namespace tiller::testing {
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

}  // namespace
}  // namespace tiller::testing
