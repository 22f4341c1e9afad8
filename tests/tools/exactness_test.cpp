/// Both ways of BDIA on a lattice through networks and guidances: every bit comes back.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "io/error.h"
#include "tests/tools/program.h"
#include "tools/inverting.h"
#include "tools/program.h"

namespace tiller::test {
namespace {

struct Case {
  std::string model = "model", sampler = "bdia", dtype = "float32";
  int steps = 10;
  std::vector<std::string> guidances = {};
  int64_t images = 2;

  std::string name() const {
    std::string text = model + " " + sampler + " " + dtype + " " + std::to_string(steps) +
                       " steps, " + std::to_string(images) + " images";
    for (const auto& guidance : guidances) text += ", " + guidance;
    return text;
  }
};

class Exactness : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    at::set_num_threads(1);
  }

  Generation prepared(const Case& c) const {
    GenerateRequest request;
    request.model = (folder / c.model).string();
    request.sampler = c.sampler;
    request.dtype = c.dtype;
    request.device = "cpu";
    request.steps = c.steps;
    request.guidances = c.guidances;
    request.count = c.images;
    request.batch = c.images;
    return prepare(std::move(request));
  }

  /// Image to noise to image, then noise to image to noise.
  void expect_exact(const Case& c) const {
    SCOPED_TRACE(c.name());
    const c10::InferenceMode inference;
    const Generation g = prepared(c);
    auto guidances = choose_guidances(g.request.guidances, g.model);
    require_invertible(g, guidances);
    GuidanceCost cost;
    const auto there = [&](InversionState state) {
      return invert_latents(g, guidances, g.images, std::move(state), {}, cost);
    };
    const auto back = [&](InversionState state) {
      return regenerate_latents(g, guidances, g.images, std::move(state), {}, cost);
    };
    auto generator = at::detail::createCPUGenerator(uint64_t(c.steps));
    const Tensor image =
        at::randint(0, 256, {c.images, 3, 16, 16}, generator, at::kFloat) / 127.5 - 1;
    const auto returned = back(there({.level = g.trajectory.steps(), .latents = image}));
    EXPECT_TRUE(at::equal(returned.latents, as_stored(image, returned)));
    EXPECT_FALSE(returned.side.defined() && returned.side.any().item<bool>());
    const Tensor noise =
        g.trajectory.levels[0].sigma * at::randn(image.sizes(), generator, at::kFloat);
    const auto made = back({.level = 0, .latents = noise});
    const auto again = there(made);
    EXPECT_TRUE(at::equal(again.latents, as_stored(noise, again)));
    EXPECT_FALSE(at::equal(made.latents, again.latents));
  }
};

const std::vector<std::string> all_three = {"cfg:scale=2", "tpg:scale=1", "asag:scale=1"};

TEST_F(Exactness, HoldsForEveryGammaStepsAndPrecision) {
  for (const std::string gamma : {"1", "0.96", "0.9375"})
    for (const std::string dtype : {"float32", "bfloat16"})
      for (const int steps : {10, 50})
        expect_exact({.sampler = "bdia:gamma=" + gamma,
                      .dtype = dtype,
                      .steps = steps,
                      .guidances = all_three,
                      .images = 1});
}

TEST_F(Exactness, HoldsForTwoHundredSteps) {
  for (const std::string gamma : {"1", "0.9375"})
    expect_exact(
        {.sampler = "bdia:gamma=" + gamma, .steps = 200, .guidances = all_three, .images = 1});
}

/// Random networks, schedules, predictions, steps, gammas, guidances and numbers of images.
TEST_F(Exactness, HoldsForRandomRuns) {
  auto generator = at::detail::createCPUGenerator(11);
  const auto draw = [&](int64_t below) {
    return at::randint(below, {1}, generator, at::TensorOptions(at::kLong)).item<int64_t>();
  };
  const auto one_of = [&](const std::vector<std::string>& all) {
    return all[size_t(draw(std::ssize(all)))];
  };
  const std::vector<std::vector<std::string>> guidances = {{},
                                                           {"cfg:scale=3"},
                                                           {"tpg:scale=2"},
                                                           {"asag:scale=1.5"},
                                                           {"pag:scale=1", "cfg:scale=1.5"},
                                                           {"seg:scale=1"},
                                                           {"cfg:scale=2,from=0.2,to=0.8"}};
  for (int run = 0; run < 16; ++run) {
    Json config = tiny_config();
    const bool v = draw(2) == 1;
    config.update({{"noise_schedule", one_of({"linear", "cosine"})},
                   {"num_heads", 1 + draw(2)},
                   {"learn_sigma", !v && draw(2) == 1},
                   {"use_scale_shift_norm", draw(2) == 1},
                   {"channel_mult", one_of({"1,2", "1,1"})}});
    if (v) config["prediction_type"] = "v_prediction";
    const std::string model = "random" + std::to_string(run);
    make_model(model, config);
    const std::string gamma = one_of({"1", "0.9", "0.95", "0.96", "0.99"});
    expect_exact({.model = model,
                  .sampler = one_of({"bdia", "bdia-edm"}) + ":gamma=" + gamma,
                  .dtype = one_of({"float32", "bfloat16"}),
                  .steps = int(2 + draw(20)),
                  .guidances = guidances[size_t(draw(std::ssize(guidances)))],
                  .images = 1 + draw(3)});
  }
}

TEST_F(Exactness, AsksANetworkTwiceWhetherItAnswersAlike) {
  int asked = 0;
  const Denoiser drifting = [&](const Tensor& x, const NoiseLevel&) {
    return Prediction{.sample = x, .epsilon = x + double(++asked)};
  };
  const Tensor x = at::zeros({1, 3, 4, 4});
  for (const Verify verify : {Verify::first, Verify::all}) {
    const Denoiser denoise = verified(drifting, verify);
    EXPECT_THROW(denoise(x, {}), Error);
  }
  asked = 0;
  const Denoiser steady = [&](const Tensor& x, const NoiseLevel&) {
    ++asked;
    return Prediction{.sample = x, .epsilon = x};
  };
  for (const auto& [verify, expected] :
       std::map<Verify, int>{{Verify::off, 3}, {Verify::first, 4}, {Verify::all, 6}}) {
    asked = 0;
    const Denoiser denoise = verified(steady, verify);
    for (int step = 0; step < 3; ++step) denoise(x, {});
    EXPECT_EQ(asked, expected);
  }
}

}  // namespace
}  // namespace tiller::test
