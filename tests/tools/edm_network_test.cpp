#include "tests/models/edm_networks.h"
#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class EdmNetwork : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    make("song", fixture("song.json").at("sampling").at(0).at("config"));
  }

  void make(const std::string& name, const Json& config) {
    fs::create_directories(folder / name);
    write_file(folder / name / "config.json", config.dump());
    save_safetensors(folder / name / "model.safetensors", edm_tensors(config));
  }

  /// The latents of `tiller generate --model MODEL ARGUMENTS`.
  Tensor sample(const std::string& model, const std::string& arguments) const {
    const Result result =
        tiller("generate --model " + model + " --class 2 --seed 11 --quiet " +
               "--device cpu --save-latents x.safetensors --output x.png " + arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return latents("x.safetensors");
  }

  Json config() const { return Json::parse(read_file(folder / "song" / "config.json")); }
};

double difference(const Tensor& a, const Tensor& b) { return relative_error(a, b); }

/// Each kind of preconditioning; what a network knows of sigmas bounds or rounds them.
TEST_F(EdmNetwork, EqualsEdmsSampler) {
  const Json tests = fixture("song.json").at("sampling");
  ASSERT_EQ(tests.size(), 4u);
  for (const Json& test : tests) {
    SCOPED_TRACE(test.at("config").dump());
    make("song", test.at("config"));
    const Tensor got = sample("song", "--sampler heun --steps " + test.at("steps").dump());
    const Tensor expected = tensor_from(test.at("values"));
    EXPECT_LT(difference(got.flatten().slice(0, 0, {}, test.at("every")), expected), 1e-5);
    EXPECT_GT(expected.std().item<double>(), 0.1);
  }
}

TEST_F(EdmNetwork, IsGuided) {
  const Tensor plain = sample("song", "--steps 3");
  EXPECT_TRUE(plain.equal(sample("song", "--steps 3 --sampler heun")));  // the usual one
  EXPECT_TRUE(plain.equal(sample("song", "--steps 3 --guidance cfg:scale=1")));
  for (const std::string guidance : {"cfg:scale=2", "tpg:scale=2", "pag:scale=2", "icg:scale=2"})
    EXPECT_GT(difference(sample("song", "--steps 3 --guidance " + guidance), plain), 1e-3)
        << guidance;
}

TEST_F(EdmNetwork, PfgmppsDimensionsAreItsDefault) {
  Json augmented = config();
  augmented["D"] = 8;
  make("pfgmpp", augmented);
  const Tensor usual = sample("pfgmpp", "--steps 2");
  EXPECT_TRUE(usual.equal(sample("song", "--steps 2 --sampler heun:pfgmpp=8")));
  EXPECT_TRUE(
      sample("pfgmpp", "--steps 2 --sampler heun:pfgmpp=0").equal(sample("song", "--steps 2")));
  EXPECT_GT(difference(usual, sample("song", "--steps 2")), 1e-2);
}

/// As `train --pfgmpp` writes them.
TEST_F(EdmNetwork, PfgmppsDimensionsAreAnAdmModelsDefault) {
  Json plain = tiny_config();
  plain.update({{"prediction_type", "edm"}, {"learn_sigma", false}});
  make_model("edm", plain);
  plain["pfgmpp"] = 8;
  make_model("pfgmpp", plain);
  const Tensor usual = sample("pfgmpp", "--steps 2");
  EXPECT_TRUE(usual.equal(sample("edm", "--steps 2 --sampler heun:pfgmpp=8")));
  EXPECT_GT(difference(usual, sample("edm", "--steps 2")), 1e-2);
}

TEST_F(EdmNetwork, StartsAtTheLargestSigmaThatItKnows) {
  Json narrow = config();
  narrow["sigma_max"] = 20;
  make("narrow", narrow);
  EXPECT_TRUE(
      sample("narrow", "--steps 2").equal(sample("song", "--steps 2 --sampler heun:sigma_max=20")));
}

TEST_F(EdmNetwork, InfoTellsWhatItIs) {
  const Result result = tiller("info song");
  ASSERT_EQ(result.code, 0) << result.err;
  for (const std::string text :
       {"song_unet", "16x16, 3 channels",
        "3; knows \"no label\" (cfg works), which wasn't trained on", "sigma from 0.002 to 80.0",
        "d0  8x8 tokens  1 heads  enc.8x8_block0"})
    EXPECT_NE(result.out.find(text), std::string::npos) << text << "\n" << result.out;
}

TEST_F(EdmNetwork, RefusesABrokenConfig) {
  Json broken = config();
  broken["encoder_type"] = "skip";
  write_file(folder / "song" / "config.json", broken.dump());
  const Result result = tiller("generate --model song --output x.png");
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("config.json: encoder_type: got \"skip\""), std::string::npos)
      << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_FALSE(fs::exists(folder / "x.png"));
}

}  // namespace
}  // namespace tiller::test
