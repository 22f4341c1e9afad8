#include "guidance/registry.h"

#include <regex>
#include <set>

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

TEST(Registry, EntriesAreComplete) {
  std::set<std::string> names;
  for (const auto& entry : guidances()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_FALSE(entry.description.empty()) << entry.name;
    EXPECT_TRUE(std::regex_match(entry.paper, std::regex("[0-9]{4}\\.[0-9]{5}"))) << entry.name;
    std::map<std::string, std::string> options;
    for (const auto& option : entry.options) {
      EXPECT_TRUE(options.emplace(option.name, option.value).second) << option.name;
      EXPECT_FALSE(option.description.empty()) << option.name;
    }
    for (const char* name : {"from", "to", "sigma_from", "sigma_to"})
      EXPECT_TRUE(options.count(name)) << entry.name << name;
    const bool undecided = options.count("layers") && options["layers"].empty();
    EXPECT_EQ(undecided, entry.default_layers != nullptr) << entry.name;
  }
  for (const std::string name :
       {"cfg", "tpg",       "asag",         "pag",    "seg",   "rescale",  "slg",
        "ssg", "sag",       "autoguidance", "apg",    "cfg++", "cfg-zero", "tcfg",
        "fdg", "dynthresh", "perp-neg",     "nag",    "icg",   "tsg",      "swg",
        "tag", "tag-cfg",   "mambo",        "pladis", "freeu", "momentum", "smc-cfg"})
    EXPECT_EQ(names.count(name), 1u) << name;
}

TEST(Registry, ReadsSums) {
  const Model model = toy_model();
  const auto chosen = choose_guidances(
      {"cfg:scale=2 + tpg:scale=3,layers=d1+m0,from=0.1,to=0.5", "none", "cfg"}, model);
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen[0].text, "cfg:scale=2");
  EXPECT_EQ(chosen[1].entry->name, "tpg");
  EXPECT_EQ(chosen[1].from, 0.1);
  EXPECT_EQ(chosen[1].to, 0.5);
  EXPECT_EQ(chosen[1].sites, (std::vector<std::string>{model.network->sites()[1].path,
                                                       model.network->sites()[2].path}));
  EXPECT_TRUE(chosen[2].sites.empty());
  EXPECT_TRUE(choose_guidances({"none"}, model).empty());
}

TEST(Registry, RefusesWhatItDoesNotKnow) {
  const Model model = toy_model();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"tpq", "Did you mean 'tpg'?"},
      {"", "got ''"},
      {"cfg + ", "got ''"},
      {"cfg:scal=3",
       "guidance cfg: options: got 'scal', expected scale, image_scale, from, to, sigma_from and "
       "sigma_to. Did you mean 'scale'?"},
      {"cfg:image_scale=2", "guidance cfg: image_scale: got '2', expected none: the model"},
      {"cfg:scale=x", "guidance cfg: scale: got 'x', expected a number."},
      {"cfg:scale=2,scale=3", "twice"},
      {"tpg:layers=d7", "guidance tpg: layers: 'd7'"},
      {"tpg:from=0.5,to=0.5", "guidance tpg: from: got '0.5', expected less than to (0.5)."},
      {"tpg:to=1.5", "from 0 to 1"},
      {"tpg:sigma_from=1,sigma_to=2", "sigma_from: got '1', expected more than sigma_to (2)."},
      {"apg:form=x", "form: got 'x', expected one of paper"},
      {"cfg-zero:zero_init_steps=-1", "from 0 on"},
      {"fdg:scales=1+", "scales: got ''"},
      {"fdg:scales=3+2,parallel=1+1+1", "parallel: got 3 bands, expected 2"},
      {"dynthresh:mimic_mode=cosine", "mimic_mode: got 'cosine'"},
      {"cfg++:scale=2", "from 0 to 1"},
      {"sag:layers=all", "layers: got 4 blocks, expected one"},
      {"swg:windows=1", "windows: got '1', expected a whole number from 2 to 16"},
      {"ssg:ratio=2", "from 0 to 1"},
      {"nag", "guidance nag: got a model that reads no text"},
      {"perp-neg", "guidance perp-neg: got a model that reads no text"},
      {"pladis", "guidance pladis: got a model that reads no text"},
      {"freeu", "guidance freeu: got a network without skips, expected a UNet."},
      {"autoguidance", "guidance autoguidance: model: got none"},
      {"rescale:phi=2", "from 0 to 1"},
      {"rescale:layers=mid", "got 'layers'"},
      {"asag:iterations=-1", "from 0 to 1000"},
      {"asag:iterations=1.5", "a whole number"},
      {"seg:sigma=0", "sigma: got '0'"},
      {"seg:sigma=nan", "sigma: got 'nan'"}};
  for (const auto& [text, part] : cases)
    EXPECT_TRUE(contains(message_of(text, model), part)) << text << ": " << message_of(text, model);
}

TEST(Registry, OneOfAFamilyAtATime) {
  const Model model = toy_model(), reader = text_model();
  EXPECT_TRUE(contains(message_of("cfg + apg", model),
                       "guidance apg: got it at the same steps as cfg, expected one at a time of "
                       "cfg, apg, cfg++"));
  EXPECT_TRUE(contains(message_of("apg + pag + apg:from=0.5", model), "same steps as apg"));
  EXPECT_TRUE(contains(message_of("nag + nag", reader), "same steps as nag"));
  EXPECT_TRUE(contains(message_of("pladis + pladis", reader), "same steps as pladis"));
  EXPECT_TRUE(contains(message_of("freeu + freeu", reader), "same steps as freeu"));
  EXPECT_EQ(message_of("cfg + cfg", model), "");
  EXPECT_EQ(message_of("cfg:to=0.2 + apg:from=0.2", model), "");
  EXPECT_EQ(message_of("cfg:sigma_from=3 + apg:sigma_to=3", model), "");
  EXPECT_EQ(message_of("tcfg + nag + slg + sag + icg + swg + tsg + rescale", reader), "");
}

TEST(Registry, AutoguidanceWantsAModelOfTheSameKind) {
  const Model model = toy_model();
  const ModelLoader other = [](const fs::path&) {
    Model worse = toy_model();
    worse.prediction = PredictionType::v;
    return worse;
  };
  try {
    choose_guidances({"autoguidance:model=a"}, model, other);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "guidance autoguidance: model: got a with prediction_type v_prediction, expected "
                 "epsilon as the guided model has.");
  }
}

/// A pipeline's prediction is its scheduler's.
TEST(Registry, AutoguidanceComparesSchedulers) {
  const auto pipeline = [](const std::string& prediction) {
    Model model = toy_model();
    model.kind = "text_to_image";
    model.scheduler = {{"prediction_type", prediction}};
    return model;
  };
  Model guided = pipeline("v_prediction");
  guided.prediction = PredictionType::v;
  const auto chosen_with = [&](const std::string& prediction) {
    return choose_guidances({"autoguidance:model=a"}, guided,
                            [&](const fs::path&) { return pipeline(prediction); });
  };
  EXPECT_EQ(chosen_with("v_prediction").size(), 1u);
  EXPECT_THROW(chosen_with("epsilon"), UsageError);
}

TEST(Registry, IcgNeedsACondition) {
  Model model = toy_model();
  model.null_label = false;
  EXPECT_EQ(message_of("icg", model), "");
  model.classes = 0;
  EXPECT_TRUE(contains(message_of("icg", model), "guidance icg: got a model that knows no labels"));
}

TEST(Registry, AnImageWeighsInModelsThatEditOne) {
  const Model model = text_model(8), other = text_model(9);
  EXPECT_EQ(message_of("cfg:scale=5,image_scale=2", model), "");
  EXPECT_EQ(message_of("cfg", model), "");
  EXPECT_TRUE(contains(message_of("cfg:image_scale=2", other), "expected none"));
  EXPECT_TRUE(contains(message_of("cfg:image_scale=0.9", model), "a number from 1 to 1000"));
  EXPECT_TRUE(contains(message_of("apg:image_scale=2", model), "got 'image_scale'"));
}

TEST(Registry, CfgNeedsAnUnconditionalBranch) {
  Model model = toy_model();
  model.null_label = false;
  EXPECT_TRUE(contains(message_of("cfg", model), "trained without label dropout"));
  EXPECT_EQ(message_of("tpg + asag + pag + seg", model), "");
  model.classes = 0;
  EXPECT_TRUE(contains(message_of("cfg", model), "knows no labels"));
  EXPECT_TRUE(
      contains(message_of("cfg", model),
               "there are tpg, ssg, asag, pag, seg, slg, tsg, swg, sag, autoguidance, freeu, "
               "tag and momentum"));
  model.kind = "unet2d_condition";
  EXPECT_EQ(message_of("cfg", model), "");
}

/// A network that has the sites given and nothing else.
class SitesOnly final : public Network {
 public:
  explicit SitesOnly(std::vector<Site> sites) : sites_(std::move(sites)) {}
  const std::vector<Site>& sites() const override { return sites_; }
  int64_t in_channels() const override { return 4; }
  int64_t out_channels() const override { return 4; }
  int64_t size_multiple() const override { return 1; }
  Tensor forward(const Tensor&, const Tensor&, Rows&) const override { return {}; }

 private:
  std::vector<Site> sites_;
};

/// `tpg`'s own choice for a network with blocks on the down path as given: count, downscale.
std::vector<std::string> tpg_sites(const std::vector<std::pair<int, int>>& levels,
                                   const std::string& prefix) {
  std::vector<Site> sites;
  for (const auto& [count, downscale] : levels)
    for (int i = 0; i < count; ++i) {
      const int index = static_cast<int>(sites.size());
      sites.push_back({prefix + std::to_string(index), Part::down, index, index, 0, downscale, 1});
    }
  const int order = static_cast<int>(sites.size());
  sites.push_back({prefix + "mid", Part::mid, 0, order, 1, 8, 1});
  Model model = toy_model();
  model.network = std::make_unique<SitesOnly>(sites);
  return choose_guidances({"tpg"}, model)[0].sites;
}

TEST(Tpg, DefaultLayers) {
  const auto sdxl = tpg_sites({{4, 2}, {20, 4}}, "transformer_blocks.");
  ASSERT_EQ(sdxl.size(), 18u);  // d6-23, the authors'
  EXPECT_EQ(sdxl.front(), "transformer_blocks.6");
  const auto sd15 = tpg_sites({{2, 1}, {2, 2}, {2, 4}}, "transformer_blocks.");
  EXPECT_EQ(sd15, (std::vector<std::string>{"transformer_blocks.4", "transformer_blocks.5"}));
  const auto adm = tpg_sites({{3, 2}, {1, 4}}, "input_blocks.");
  EXPECT_EQ(adm, (std::vector<std::string>{"input_blocks.3"}));
}

TEST(Registry, RefusesNetworksWithoutSuchSites) {
  Model model = toy_model();
  model.network = std::make_unique<SitesOnly>(std::vector<Site>{});
  for (const std::string name : {"tpg", "asag", "pag", "seg"})
    EXPECT_TRUE(contains(message_of(name, model),
                         "guidance " + name + ": got a network without attention"));
  EXPECT_EQ(message_of("cfg", model), "");
  model.network = std::make_unique<SitesOnly>(
      std::vector<Site>{{"output_blocks.0.1", Part::up, 0, 0, 0, 1, 1}});
  for (const std::string name : {"tpg", "asag", "pag", "seg"})
    EXPECT_TRUE(contains(message_of(name, model), "this model has u0")) << message_of(name, model);
}

}  // namespace
}  // namespace tiller::test
