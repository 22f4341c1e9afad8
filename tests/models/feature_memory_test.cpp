#include "models/feature_memory.h"

#include "io/error.h"
#include "models/adm_unet.h"
#include "tests/models/edm_networks.h"
#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

/// A sampling loop with a network that may remember.
struct Loop {
  const Network& network;
  FeatureMemory* memory = nullptr;
  double step = 0.3;
  std::vector<FlopCount> flops = {};
  std::vector<bool> reused = {};

  Answers evaluate(const Tensor& x, double t, int index, std::span<const Branch> branches,
                   bool share = true) {
    std::vector<Asker> askers;
    for (size_t b = 0; b < branches.size(); ++b) askers.emplace_back(nullptr, b);
    if (memory) memory->begin_step(index), memory->expect(askers);
    Answers answers =
        tiller::evaluate(network, x, at::full({x.size(0)}, t), branches, share, memory);
    flops.push_back(answers.flops);
    if (memory) reused.push_back(memory->reused());
    return answers;
  }

  /// x less `step` times the last branch's prediction, from time to time.
  Tensor run(Tensor x, const std::vector<double>& times, std::span<const Branch> branches,
             bool share = true) {
    at::NoGradGuard guard;
    for (size_t i = 0; i < times.size(); ++i) {
      const Tensor out = evaluate(x, times[i], int(i), branches, share).outputs.back();
      x = x - step * out.narrow(1, 0, x.size(1));
    }
    return x;
  }
};

FeatureMemory deepcache(int64_t interval, int64_t branch) {
  return FeatureMemory({.branch = branch, .interval = interval});
}

FeatureMemory first_block(double threshold, int64_t branch = 1) {
  return FeatureMemory({.branch = branch, .threshold = threshold});
}

/// The network of the reference's plain loop, and its inputs.
struct LoopCase {
  Json file = fixture("deepcache.json");
  BuiltUNet2D unet = build_unet2d(file.at("config"));
  Tensor x = 2 * formula_tensor("sample", {2, 4, 8, 8});
  std::vector<double> times = file.at("timesteps").get<std::vector<double>>();
  Conditioning prompt, negative;
  LoopCase() {
    prompt.context = 2 * formula_tensor("context", {2, 5, 24});
    negative.context = prompt.context.roll(1, 2);
  }
};

/// Against tests/reference/make_deepcache.py.
TEST(FeatureMemory, EqualsTheDeepCachePackage) {
  const LoopCase made;
  const Branch branch{&made.prompt};
  for (const Json& expected : made.file.at("loops")) {
    const int64_t interval = expected.at("interval"), depth = expected.at("branch");
    SCOPED_TRACE(std::to_string(interval) + ", branch " + std::to_string(depth));
    FeatureMemory memory = deepcache(interval, depth);
    Loop loop{*made.unet.network, &memory, made.file.at("step")};
    const Tensor got = loop.run(made.x, made.times, {&branch, 1}).flatten();
    const auto values = expected.at("values").get<std::vector<float>>();
    EXPECT_LT(relative_error(got.slice(0, 0, {}, made.file.at("every")), at::tensor(values)), 1e-5);
    for (size_t i = 0; i < made.times.size(); ++i)
      EXPECT_EQ(loop.reused[i], int64_t(i) % interval != 0);
  }
}

struct AnyNetwork {
  std::string name;
  std::unique_ptr<Network> network;
  Tensor x;
  Conditioning conditioning;
};

std::vector<AnyNetwork> networks() {
  std::vector<AnyNetwork> all;
  const auto add = [&](const std::string& name, std::unique_ptr<Network> network, Weights& weights,
                       int64_t side) {
    fill_edm(weights.finish());
    const Tensor x = 2 * formula_tensor("x", {2, network->in_channels(), side, side});
    all.push_back({name, std::move(network), x, {}});
  };
  const Json adm = {{"image_size", 16},        {"num_channels", 32}, {"num_res_blocks", 2},
                    {"channel_mult", "1,2"},   {"num_heads", 2},     {"attention_resolutions", "8"},
                    {"resblock_updown", true}, {"learn_sigma", true}};
  Weights a(0), b(0), c(0);
  auto network = adm_unet(adm_config(adm, "test"), a);
  add("adm", std::move(network), a, 16);
  const LoopCase made;
  network = unet2d_condition(made.file.at("config"), b);
  add("unet2d", std::move(network), b, 8);
  all.back().conditioning = made.prompt;
  for (const Json& test : fixture("song.json").at("cases")) {
    Weights own(0);
    network = edm_unet(edm_config(test.at("config")), own);
    add("edm " + test.at("config").dump(), std::move(network), own,
        test.at("config").at("img_resolution"));
    all.back().conditioning.label = at::tensor({3, 7}, at::kLong);
  }
  return all;
}

TEST(FeatureMemory, WithoutReuseAllIsTheSameToTheBit) {
  for (const auto& [name, network, x, conditioning] : networks()) {
    SCOPED_TRACE(name);
    const Branch branch{&conditioning};
    Loop plain{*network};
    const Tensor expected = plain.run(x, {3, 2, 1}, {&branch, 1});
    for (FeatureMemory memory : {deepcache(1, 0), deepcache(1, network->up_blocks() - 1),
                                 first_block(0), first_block(0, 2)}) {
      Loop loop{*network, &memory};
      EXPECT_TRUE(at::equal(loop.run(x, {3, 2, 1}, {&branch, 1}), expected));
      EXPECT_EQ(loop.flops.back().spent, plain.flops.back().spent);
    }
  }
}

/// A deeper cut takes more, and what is left out isn't counted.
TEST(FeatureMemory, ReuseCostsWhatItEvaluates) {
  for (const auto& [name, network, x, conditioning] : networks()) {
    SCOPED_TRACE(name);
    const Branch branch{&conditioning};
    double before = 0;
    for (int64_t depth = 0; depth < network->up_blocks(); ++depth) {
      FeatureMemory memory = deepcache(2, depth);
      Loop loop{*network, &memory};
      const Tensor got = loop.run(x, {2, 1}, {&branch, 1});
      EXPECT_TRUE(got.isfinite().all().item<bool>());
      EXPECT_GT(loop.flops[1].spent, before);
      before = loop.flops[1].spent;
      EXPECT_LT(before, loop.flops[0].spent);
    }
  }
}

/// Blocks that add numbers of their own, and a log of which of them ran.
struct ToySpine {
  std::string ran;
  Spine spine;
  ToySpine() {
    const auto noted = [this](const std::string& name, const Tensor& x, double own) {
      ran += name;
      return x + own;
    };
    spine = {
        .skips = 3,
        .down = [=](size_t i,
                    const Tensor& x) { return noted("d" + std::to_string(i), x, double(i) + 1); },
        .middle = [=](const Tensor& x, Skips&) { return noted("m", x, 100); },
        .up =
            [=](size_t i, const Tensor& x, Skips& skips) {
              const Tensor skip = skips.back();
              skips.pop_back();
              return noted("u" + std::to_string(i), 2 * x + skip, 0);
            }};
  }
  double run(FeatureMemory& memory, int step, double x) {
    ran.clear();
    const Conditioning none;
    const Branch branch{&none};
    memory.begin_step(step);
    memory.expect({{nullptr, 0}});
    Rows rows({&branch, 1}, 1, {.memory = &memory});
    return run_spine(spine, rows, at::full({1, 1, 1, 1}, x)).item<double>();
  }
};

TEST(FeatureMemory, AReusedStepIsTheShallowPartOverWhatWasKept) {
  ToySpine toy;
  FeatureMemory memory = deepcache(3, 1);
  // Skips of x: x + 1, x + 3, x + 6; the middle: x + 106.
  const auto deep = [](double x) { return 2 * (x + 106) + x + 6; };
  const auto shallow = [](double kept, double x) { return 2 * (2 * kept + x + 3) + x + 1; };
  EXPECT_EQ(toy.run(memory, 0, 0), shallow(deep(0), 0));
  EXPECT_EQ(toy.ran, "d0d1d2mu0u1u2");
  for (const int step : {1, 2}) {
    EXPECT_EQ(toy.run(memory, step, step), shallow(deep(0), step));
    EXPECT_EQ(toy.ran, "d0d1u1u2");
  }
  EXPECT_EQ(toy.run(memory, 3, 3), shallow(deep(3), 3));
  EXPECT_EQ(toy.run(memory, 3, 5), shallow(deep(5), 5)) << "a step's second evaluation";
  EXPECT_EQ(toy.run(memory, 4, 4), shallow(deep(5), 4)) << "what the last evaluation kept";
}

/// Images change at their own pace: with a threshold between, one needs its deep part more often.
TEST(FeatureMemory, ImagesOfABatchDecideForThemselves) {
  const LoopCase made;
  bool differ = false;
  for (const double threshold : {0.05, 0.1, 0.2, 0.3}) {
    const auto run = [&](const Tensor& x, const Tensor& context) {
      Conditioning prompt;
      prompt.context = context;
      const Branch branch{&prompt};
      FeatureMemory memory = first_block(threshold);
      Loop loop{*made.unet.network, &memory};
      return std::pair(loop.run(x, made.times, {&branch, 1}), loop.reused);
    };
    const Tensor x = at::cat({made.x.narrow(0, 0, 1), 6 * made.x.narrow(0, 1, 1)});
    const Tensor both = run(x, made.prompt.context).first;
    std::vector<std::vector<bool>> alone;
    for (int64_t image = 0; image < 2; ++image) {
      const auto [own, reused] =
          run(x.narrow(0, image, 1), made.prompt.context.narrow(0, image, 1));
      EXPECT_LT(relative_error(both.narrow(0, image, 1), own), 1e-5) << threshold;
      alone.push_back(reused);
    }
    differ |= alone[0] != alone[1];
  }
  EXPECT_TRUE(differ) << "no threshold tells the images apart";
}

/// Takes self-attention's values as they are, in the middle.
struct Identity : Perturbation {
  Kind kind() const override { return Kind::attention; }
  bool acts_at(const Site& site) const override { return site.part == Part::mid; }
  Tensor attention(const Site&, const Tensor&, const Tensor&, const Tensor& v) const override {
    return v;
  }
};

/// Groups that forked in the deep part come back where it is left out.
TEST(FeatureMemory, BranchesKeepTheirOwn) {
  at::NoGradGuard guard;
  const LoopCase made;
  const Identity identity;
  const std::vector<Branch> all = {
      {&made.prompt}, {&made.negative}, {&made.prompt, &identity}, {&made.prompt}};
  for (const int64_t depth : {0, 1, 4}) {
    SCOPED_TRACE(depth);
    FeatureMemory shared = deepcache(2, depth), separate = shared;
    Loop loop{*made.unet.network, &shared}, unshared{*made.unet.network, &separate};
    loop.evaluate(made.x, 500, 0, all);
    unshared.evaluate(made.x, 500, 0, all, false);
    const Answers answers = loop.evaluate(0.9 * made.x, 400, 1, all);
    const Answers expected = unshared.evaluate(0.9 * made.x, 400, 1, all, false);
    EXPECT_TRUE(loop.reused[1] && unshared.reused[1]);
    for (size_t b = 0; b < all.size(); ++b) {
      FeatureMemory own = deepcache(2, depth);
      Loop alone{*made.unet.network, &own};
      alone.evaluate(made.x, 500, 0, {&all[b], 1});
      const Tensor by_itself = alone.evaluate(0.9 * made.x, 400, 1, {&all[b], 1}).outputs[0];
      EXPECT_LT(relative_error(answers.outputs[b], by_itself), 1e-5);
      EXPECT_LT(relative_error(expected.outputs[b], by_itself), 1e-5);
    }
    for (const size_t b : {size_t(1), size_t(2)})
      EXPECT_GT(relative_error(answers.outputs[b], answers.outputs[0]), 1e-4);
    EXPECT_TRUE(at::equal(answers.outputs[3], answers.outputs[0]));
    EXPECT_LT(loop.flops[1].spent, 0.8 * unshared.flops[1].spent);
  }
}

/// A branch that wasn't asked for in the step before has nothing that is fit to be used.
TEST(FeatureMemory, ANewBranchMakesAnEvaluationWhole) {
  at::NoGradGuard guard;
  const LoopCase made;
  const std::vector<Branch> both = {{&made.prompt}, {&made.negative}};
  const std::span<const Branch> all(both), one = all.first(1);
  FeatureMemory memory = deepcache(5, 0);
  Loop loop{*made.unet.network, &memory};
  int step = 0;
  for (const auto& branches : {all, all, one, all, all})
    loop.evaluate(made.x, 500, step++, branches);
  EXPECT_EQ(loop.reused, std::vector<bool>({false, true, true, false, true}));
  loop.evaluate(made.x.narrow(2, 0, 4), 500, step++, all);
  EXPECT_FALSE(loop.reused.back()) << "another size";
}

TEST(FeatureMemory, RefusesADepthThatThereIsnt) {
  const LoopCase made;
  EXPECT_THROW(choose_cache("deepcache:branch=9", *made.unet.network), UsageError);
  EXPECT_EQ(choose_cache("deepcache:branch=8", *made.unet.network)->branch, 8);
  FeatureMemory memory = deepcache(2, 9);
  Loop loop{*made.unet.network, &memory};
  const Branch branch{&made.prompt};
  EXPECT_THROW(loop.evaluate(made.x, 1, 0, {&branch, 1}), Error);
}

TEST(FeatureCache, ReadsItsOptions) {
  const LoopCase made;
  const Network& network = *made.unet.network;
  EXPECT_FALSE(choose_cache("", network) || choose_cache("none", network));
  const auto cache = choose_cache("deepcache", network);
  EXPECT_EQ(std::pair(cache->interval, cache->branch), std::pair(int64_t{3}, int64_t{0}));
  EXPECT_EQ(choose_cache("first-block:threshold=0.25", network)->threshold, 0.25);
  for (const std::string text :
       {"deepcash", "deepcache:interval=0", "deepcache:branch=-1", "first-block:threshold=-1",
        "first-block:branch=0", "deepcache:threshold=1"})
    EXPECT_THROW(choose_cache(text, network), UsageError) << text;
}

}  // namespace
}  // namespace tiller::test
