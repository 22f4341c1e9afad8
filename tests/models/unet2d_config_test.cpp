#include "models/unet2d_config.h"

#include "io/error.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

std::string message_for(const std::string& key, const Json& value) {
  try {
    unet2d_config({{key, value}});
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(UNet2DConfig, OptionsThatArentSupportedAreErrorsByName) {
  const std::vector<std::pair<std::string, Json>> options = {
      {"dual_cross_attention", true},
      {"only_cross_attention", {true, false, false, false}},
      {"class_embed_type", "timestep"},
      {"encoder_hid_dim", 768},
      {"encoder_hid_dim_type", "text_proj"},
      {"addition_embed_type", "text"},
      {"time_embedding_type", "fourier"},
      {"attention_type", "gated"},
      {"cross_attention_norm", "layer_norm"},
      {"resnet_skip_time_act", true},
      {"resnet_out_scale_factor", 2.0},
      {"timestep_post_act", "silu"},
      {"time_embedding_act_fn", "silu"},
      {"class_embeddings_concat", true},
      {"act_fn", "gelu"},
      {"norm_num_groups", nullptr},
      {"mid_block_type", "UNetMidBlock2DSimpleCrossAttn"},
      {"_class_name", "UNet2DModel"},
      {"resnet_time_scale_shift", "ada_group"},
      {"cross_attention_dim", {768, 768, 768, 1024}}};
  for (const auto& [key, value] : options)
    EXPECT_NE(message_for(key, value).find("config.json: " + key + ": got "), std::string::npos)
        << message_for(key, value);
}

TEST(UNet2DConfig, MalformedValuesAreErrorsByName) {
  const std::vector<std::pair<std::string, Json>> options = {
      {"in_channels", "four"},  {"in_channels", 4.5},
      {"out_channels", 0},      {"block_out_channels", {320, 640, 1280, 1281}},
      {"layers_per_block", -1}, {"layers_per_block", {2, 2}},
      {"norm_eps", "small"},    {"block_out_channels", Json::array()},
      {"conv_in_kernel", 2},    {"attention_head_dim", 7},
      {"freq_shift", 160},      {"block_out_channels", {18446744073709551615u}},
      {"down_block_types", 3},  {"transformer_layers_per_block", {1, {1, 1}, 1, 1}},
      {"dropout", 2},           {"transformer_layers_per_block", {1, 2}}};
  for (const auto& [key, value] : options) {
    const std::string message = message_for(key, value);
    EXPECT_NE(message.find("config.json: "), std::string::npos) << key << " " << value;
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
  EXPECT_EQ(message_for("layers_per_block", 1000),
            "config.json: layers_per_block: got 1000, expected an integer from 1 to 64.");
  EXPECT_THROW(unet2d_config(Json::array()), Error);
}

TEST(UNet2DConfig, UnknownKeysAreErrorsWithASuggestion) {
  EXPECT_EQ(message_for("layer_per_block", 2),
            "config.json: got the unknown key 'layer_per_block', expected those of "
            "UNet2DConditionModel. Did you mean 'layers_per_block'?");
  EXPECT_EQ(message_for("_commit_hash", "abc"), "none");
}

TEST(UNet2DConfig, DefaultsAreThoseOfDiffusers) {
  const UNet2DConfig config = unet2d_config(Json::object());
  EXPECT_EQ(config.context_channels, 1280);
  EXPECT_EQ(config.time_channels, 1280);
  ASSERT_EQ(config.up.size(), 4u);
  EXPECT_TRUE(config.up[0].depths.empty());
  EXPECT_EQ(config.up[3].channels, 320);
  EXPECT_EQ(config.up[3].depths, (std::vector<int64_t>{1, 1, 1}));
  EXPECT_EQ(config.mid->heads, 8);
}

TEST(UNet2DConfig, NumAttentionHeadsWinsOverTheOldKey) {
  const UNet2DConfig config =
      unet2d_config({{"attention_head_dim", 64}, {"num_attention_heads", 5}});
  EXPECT_EQ(config.down[0].heads, 5);
}

TEST(UNet2DConfig, TheSampleSizeMayHaveTwoSides) {
  const auto size_of = [](const nlohmann::json& size) {
    return unet2d_sample_size({{"sample_size", size}});
  };
  EXPECT_EQ(size_of(32), std::pair(int64_t(32), int64_t(32)));
  EXPECT_EQ(size_of({6, 10}), std::pair(int64_t(6), int64_t(10)));
  EXPECT_EQ(unet2d_sample_size(nlohmann::json::object()), std::pair(int64_t(64), int64_t(64)));
  EXPECT_THROW(size_of(0), Error);
}

}  // namespace
}  // namespace tiller::test
