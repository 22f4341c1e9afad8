#include "training/gradient_step.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/error.h"
#include "models/products.h"

namespace tiller::test {
namespace {

/// Fits a weight to the rows 0, 1, 2, ... of a batch.
class Fit final : public TrainTask {
 public:
  NamedTensors parameters() const override { return {{"w", weight_}}; }
  NamedTensors average() const override { return {{"w", average_}}; }
  Tensor losses(int64_t step, const BatchPart& part) override {
    parts.push_back(part.count);
    const Tensor rows = at::arange(part.first, part.first + part.count, at::kFloat);
    Tensor losses = (weight_ - rows).square() * (step == explosive_step ? explosion : 1);
    if (step == bad_step && part.first <= bad_row && bad_row < part.first + part.count)
      losses = losses + at::where(rows == float(bad_row), NAN, 0.0);
    if (step == steep_step) losses = losses + (weight_ - weight_.detach()).sqrt();
    return losses;
  }
  void learn(const Tensor& losses) override { learned = losses; }
  std::string image_name(int64_t, int64_t row) override { return "cats/" + std::to_string(row); }
  void save(const fs::path&) const override {}
  void preview(const fs::path&) const override {}

  std::vector<int64_t> parts;
  Tensor learned;
  int64_t bad_step = -1, bad_row = 0, explosive_step = -1;
  int64_t steep_step = -1;  ///< Its losses are as ever, their gradient is infinite.
  float explosion = 1;

 private:
  Tensor weight_ = at::zeros({1}, at::kFloat), average_ = at::zeros({1}, at::kFloat);
};

struct Steps {
  explicit Steps(TrainOptions given = {}) : options(std::move(given)) {
    options.batch = 7;
    options.clip = 0;
    options.output = "out";
    state = initial_state(task.parameters(), task.average(), options.ema);
  }
  StepOutcome step() { return gradient_step(options, task, state, group, 0.1); }
  float weight() const { return state.weights[0].item<float>(); }

  TrainOptions options;
  Fit task;
  Processes processes{Launch()};
  TrainingGroup group{processes};
  TrainState state;
};

TEST(GradientStep, PartsOfABatchAddUpToIt) {
  Steps whole, parts;
  parts.options.microbatch = 3;
  for (int i = 0; i < 5; ++i) {
    const StepOutcome a = whole.step(), b = parts.step();
    EXPECT_NEAR(a.loss, b.loss, 1e-6);
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5);
    EXPECT_NEAR(whole.weight(), parts.weight(), 1e-6);
  }
  EXPECT_EQ(parts.task.parts[2], 1);
  EXPECT_TRUE(at::allclose(whole.task.learned, parts.task.learned));
  EXPECT_EQ(whole.task.learned.size(0), 7);
}

TEST(GradientStep, NamesTheImageOfABadLossAndKeepsTheWeights) {
  Steps run;
  run.options.microbatch = 2;
  run.task.bad_step = 1, run.task.bad_row = 4;
  run.step();
  const float before = run.weight();
  try {
    run.step();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("at step 2 (cats/4)"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(run.weight(), before);
  EXPECT_EQ(run.state.step, 1);
}

TEST(GradientStep, ComputesInFloat32WhereBfloat16HasNoInstructions) {
  TrainOptions options;
  EXPECT_TRUE(computes_in_float32(options));
  options.autocast = TrainOptions::Autocast::float16;
  EXPECT_FALSE(computes_in_float32(options));
  options.autocast = TrainOptions::Autocast::bfloat16;
  EXPECT_EQ(computes_in_float32(options), is_widened(at::kBFloat16));
  options.device = at::Device("cuda:0");
  EXPECT_FALSE(computes_in_float32(options));
}

TEST(GradientStep, AnOverflowInFloat16HalvesTheScaleAndSkipsTheStep) {
  TrainOptions options;
  options.autocast = TrainOptions::Autocast::float16;
  Steps run(options), plain;
  run.step(), plain.step();
  EXPECT_NEAR(run.weight(), plain.weight(), 1e-6) << "the scale cancels";
  run.task.explosive_step = 1, run.task.explosion = 1e33f;
  const float before = run.weight();
  EXPECT_TRUE(run.step().overflowed);
  EXPECT_EQ(run.weight(), before);
  EXPECT_EQ(run.state.loss_scale.scale, 32768);
  EXPECT_EQ(run.state.step, 2);
  EXPECT_EQ(run.state.updates, 1);
  run.state.loss_scale.good_steps = 1999;
  EXPECT_FALSE(run.step().overflowed);
  EXPECT_EQ(run.state.loss_scale.scale, 65536);
}

/// In float16, once a smaller scale can't help.
TEST(GradientStep, RefusesAGradientThatIsntFiniteAndKeepsTheWeights) {
  for (const auto autocast : {TrainOptions::Autocast::none, TrainOptions::Autocast::float16}) {
    TrainOptions options;
    options.autocast = autocast;
    Steps run(options);
    run.step();
    const float before = run.weight();
    run.task.steep_step = 1, run.state.loss_scale.scale = 1.0 / 1024;
    try {
      run.step();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("a gradient that isn't finite at step 2"),
                std::string::npos)
          << error.what();
    }
    EXPECT_EQ(run.weight(), before);
    EXPECT_EQ(run.state.step, 1);
  }
}

/// Not the last of the steps that float16's falling loss scale tries.
TEST(GradientStep, InFloat16ItNamesTheFirstImageInTrouble) {
  TrainOptions options;
  options.autocast = TrainOptions::Autocast::float16;
  Steps run(options);
  run.task.bad_step = 1, run.task.bad_row = 3, run.state.loss_scale.scale = 1.0 / 512;
  run.step();
  EXPECT_TRUE(run.step().overflowed);
  run.task.bad_step = 2, run.task.bad_row = 5;
  try {
    run.step();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "train: got a loss that isn't finite at step 2 (cats/3) and ever since, expected "
              "numbers. Lower --lr.");
  }
  run.task.bad_step = -1;
  EXPECT_FALSE(run.step().overflowed);
  run.task.bad_step = 3, run.task.bad_row = 6;
  try {
    run.step();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("at step 4 (cats/6), expected"), std::string::npos)
        << error.what();
  }
}

TEST(GradientStep, KeepsSeveralAverages) {
  TrainOptions options;
  options.ema = {averaging_from("0.5"), averaging_from("0")};
  Steps run(options);
  for (int i = 0; i < 20; ++i) run.step();
  EXPECT_EQ(run.state.averages[1].tensors[0].item<float>(), run.weight());
  EXPECT_LT(run.state.averages[0].tensors[0].item<float>(), run.weight());
}

}  // namespace
}  // namespace tiller::test
