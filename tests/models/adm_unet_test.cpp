#include "models/adm_unet.h"

#include "io/error.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

AdmConfig config_of(const Json& test) {
  AdmConfig config = adm_config(test.at("config"), "adm.json");
  if (config.class_cond) config.num_classes = 7;
  return config;
}

/// Names, shapes and outputs are guided-diffusion's.
TEST(AdmUNet, EqualsTheOriginal) {
  const Json cases = fixture("adm.json").at("cases");
  ASSERT_EQ(cases.size(), 3u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("config").dump());
    const c10::InferenceMode guard;
    const AdmConfig config = config_of(test);
    Weights weights(0);
    const auto network = adm_unet(config, weights);
    const NamedTensors parameters = weights.finish();
    EXPECT_EQ(digest_of(parameters), test.at("names").get<uint32_t>());
    fill_by_formula(parameters);

    const int64_t size = config.image_size;
    const Tensor x = 2 * formula_tensor("x", {2, 3, size, size});
    const Conditioning labels{at::tensor({3, 6}, at::kLong), {}, {}, {}};
    const Branch branch{&labels, nullptr};
    const Tensor t = at::tensor({17.5f, 803.f});
    const Answers answers = evaluate(*network, x, t, {&branch, 1});
    const Tensor output = answers.outputs.front();
    EXPECT_EQ(output.sizes().vec(), test.at("shape").get<std::vector<int64_t>>());
    const Tensor sampled =
        output.contiguous().flatten().slice(0, 0, std::nullopt, test.at("every"));
    EXPECT_LT(relative_error(sampled, tensor_from(test.at("values"))), 1e-5);
  }
}

TEST(AdmUNet, SitesAreInExecutionOrder) {
  const Json config = {{"image_size", 32},
                       {"num_channels", 32},
                       {"channel_mult", "1,2,2"},
                       {"num_res_blocks", 1},
                       {"attention_resolutions", "16,8"}};
  Weights weights(0);
  const auto network = adm_unet(adm_config(config, "test"), weights);
  std::vector<std::string> names, paths;
  for (const auto& site : network->sites()) {
    names.push_back(short_name(site));
    paths.push_back(site.path);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"d0", "d1", "m0", "u0", "u1", "u2", "u3"}));
  EXPECT_EQ(paths[0], "input_blocks.3.1");
  EXPECT_EQ(paths[2], "middle_block.1");
  EXPECT_EQ(paths[3], "output_blocks.0.1");
}

/// guided-diffusion's rule: image_size // resolution, which no level has where it is 0.
TEST(AdmUNet, ResolutionsAboveTheImagesHaveNoAttention) {
  const auto sites = [](const std::string& resolutions) {
    Weights weights(0);
    const Json config = {{"image_size", 16},
                         {"num_channels", 32},
                         {"channel_mult", "1,2"},
                         {"num_res_blocks", 1},
                         {"attention_resolutions", resolutions}};
    return adm_unet(adm_config(config, "test"), weights)->sites().size();
  };
  EXPECT_EQ(sites("32,8"), sites("8"));
}

TEST(AdmUNet, HeadChannelsDivideTheChannels) {
  Weights weights(0);
  const Json config = {{"image_size", 16},
                       {"num_channels", 64},
                       {"channel_mult", "1"},
                       {"attention_resolutions", "16"},
                       {"num_head_channels", 48}};
  EXPECT_THROW(adm_unet(adm_config(config, "test"), weights), Error);
}

TEST(AdmConfig, CifarsMultipliersAreDdpmIps) {
  EXPECT_EQ(adm_config({{"image_size", 32}}, "test").channel_mult,
            (std::vector<double>{1, 2, 2, 2}));
}

TEST(AdmConfig, RefusesByName) {
  const auto message = [](const Json& json) {
    try {
      adm_config(json, "config.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message({{"num_chanels", 64}}).find("Did you mean 'num_channels'?"), std::string::npos);
  EXPECT_NE(message({{"image_size", "big"}}).find("image_size: got \"big\""), std::string::npos);
  EXPECT_NE(message({{"image_size", 48}}).find("channel_mult"), std::string::npos);
  EXPECT_NE(message({{"channel_mult", "1,x"}}), "");
  EXPECT_NE(message({{"num_channels", 40}}), "");
  EXPECT_NE(message({{"noise_schedule", "sigmoids"}}), "");
  EXPECT_NE(message(Json::array()), "");
  EXPECT_EQ(message({{"learn_sigma", "True"}, {"use_fp16", true}}), "");
  EXPECT_EQ(message({{"image_size", "64"}, {"dropout", "0.3"}, {"channel_mult", ""}}), "");
  EXPECT_NE(message({{"image_size", "64x"}}), "");
  EXPECT_EQ(message({{"image_size", 16}, {"channel_mult", "1,2"}, {"sigma_small", true}}), "");
  EXPECT_EQ(message({{"prediction_type", "edm"}, {"pfgmpp", "128"}}), "");
  EXPECT_EQ(message({{"prediction_type", "edm"}, {"pfgmpp", 10'000'001}}),
            "config.json: pfgmpp: got 10000001, expected a whole number from 0 to 10000000.");
  EXPECT_NE(message({{"prediction_type", "edm"}, {"pfgmpp", -1}}), "");
  EXPECT_NE(message({{"pfgmpp", 128}}).find("expected it with edm alone"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
