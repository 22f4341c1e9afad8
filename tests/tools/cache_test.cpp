#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class Caches : public Pipelines {
 protected:
  struct Run {
    Json json;
    Tensor latents;
  };
  Run run(const std::string& arguments) const {
    const Result result =
        must("generate --model model --steps 6 --json --save-latents l.safetensors --output o " +
             arguments);
    return {Json::parse(result.out), latents("l.safetensors")};
  }
  static double difference(const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
  }
};

/// Whole runs with CFG, against tests/reference/make_deepcache.py.
TEST_F(Caches, PipelinesEqualTheDeepCachePackage) {
  for (const Json& expected : test::fixture("deepcache.json").at("pipelines")) {
    const std::string family = expected.at("family"), sampler = expected.at("sampler");
    if (!fs::exists(folder / family)) make_pipeline(family);
    const std::string flags = "--sampler " + sampler + " --cache deepcache:interval=" +
                              std::to_string(expected.at("interval").get<int>()) +
                              ",branch=" + std::to_string(expected.at("branch").get<int>());
    SCOPED_TRACE(family + " " + flags);
    expect_latents(latents_of(command(family, flags + " --guidance cfg:scale=5")), expected);
  }
}

TEST_F(Caches, SaysWhatWasReused) {
  const std::string batch = "--count 2 --batch 2 --guidance 'cfg:scale=2 + pag:scale=2' ";
  const Run plain = run(batch), off = run(batch + "--cache deepcache:interval=1"),
            cached = run(batch + "--cache deepcache:interval=3");
  EXPECT_FALSE(plain.json.contains("cache"));
  EXPECT_TRUE(at::equal(off.latents, plain.latents));
  EXPECT_EQ(off.json.at("cache").at("reused"), 0);
  EXPECT_EQ(off.json.at("flops"), plain.json.at("flops"));
  EXPECT_EQ(cached.json.at("cache").at("method"), "deepcache:interval=3");
  EXPECT_EQ(cached.json.at("cache").at("reused"), 4);
  EXPECT_EQ(cached.json.at("evaluations"), 6);
  EXPECT_LT(cached.json.at("flops").get<double>(), 0.7 * plain.json.at("flops").get<double>());
  EXPECT_GT(difference(cached.latents, plain.latents), 1e-3);
}

/// Both evaluations of a step of Heun's method are whole or neither is.
TEST_F(Caches, StepsDecideForAllTheirEvaluations) {
  const Run heun = run("--sampler heun --cache deepcache:interval=2");
  EXPECT_EQ(heun.json.at("evaluations"), 11);  // the last step takes one
  EXPECT_EQ(heun.json.at("cache").at("reused"), 5);
  const Run first = run("--sampler heun --cache first-block:threshold=1000");
  EXPECT_EQ(first.json.at("cache").at("reused"), 10);
}

/// Nothing is kept from one batch to the next, nor from one image to another.
TEST_F(Caches, ImagesDependOnThemselvesAlone) {
  for (const std::string cache : {"deepcache:interval=2", "first-block:threshold=0.3"}) {
    SCOPED_TRACE(cache);
    const std::string flags = "--guidance cfg:scale=2 --cache " + cache + " --class ant,bee,cat ";
    const Run one = run(flags + "--batch 1"), two = run(flags + "--batch 2");
    EXPECT_LT(difference(two.latents, one.latents), 1e-4);
    const Run last = run("--guidance cfg:scale=2 --cache " + cache + " --class cat --seed 2");
    EXPECT_TRUE(at::equal(last.latents[0], one.latents[2]));
  }
}

/// Guidance that begins later makes the step whole at which its branch comes in.
TEST_F(Caches, BranchesThatComeInLaterAreEvaluated) {
  const Run later = run("--guidance cfg:scale=2,from=0.5 --cache deepcache:interval=6");
  EXPECT_EQ(later.json.at("cache").at("reused"), 4);
  const Run earlier = run("--guidance cfg:scale=2,to=0.5 --cache deepcache:interval=6");
  EXPECT_EQ(earlier.json.at("cache").at("reused"), 5);
}

TEST_F(Caches, RecipesKeepIt) {
  generate("--count 2 --cache deepcache:interval=2 --output many");
  must("generate --quiet --from many/00001.png --output again.png");
  EXPECT_EQ(bytes("many/00001.png"), bytes("again.png"));
  must("generate --quiet --from many/00001.png --cache none --output whole.png");
  EXPECT_NE(bytes("many/00001.png"), bytes("whole.png"));
}

TEST_F(Caches, RefusesWhatCantBe) {
  const std::string cached = "generate --model model --steps 4 --output o.png --cache deepcache ";
  expect_refused(cached + "--guidance sag:scale=1,layers=mid", "got guidance sag");
  expect_refused(cached + "--parallel picard", "got --parallel");
  expect_refused(cached + "--sampler bdia", "got sampler bdia, and evaluations");
  expect_refused(cached + "--sampler edict", "got sampler edict");
  expect_refused(cached + "--sampler ddim --save-inversion i.safetensors", "no inverse");
  write_picture("a.png", 16);
  expect_refused("invert --model model --class ant --image a.png --cache deepcache", "cache");
  expect_refused("generate --model model --cache deepcash", "Did you mean 'deepcache'");
  expect_refused("generate --model model --cache deepcache:branch=9", "counted from 0");
}

}  // namespace
}  // namespace tiller::test
