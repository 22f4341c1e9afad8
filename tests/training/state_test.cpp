#include "training/state.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/error.h"
#include "io/safetensors.h"
#include "tests/training/dataset_files.h"
#include "training/random.h"

namespace tiller::test {
namespace {

class State : public DatasetFiles {};

Tensor normal(at::IntArrayRef shape, uint64_t index) {
  return at::randn(shape, step_generator(1, 1, index), at::TensorOptions(at::kFloat));
}

TrainState random_state(uint64_t seed) {
  TrainState state = initial_state({{"a", normal({3, 2}, seed)}, {"b.c", normal({5}, seed + 1)}},
                                   {{"a", at::empty({3, 2})}, {"b.c", at::empty({5})}});
  for (auto* part : {&state.averages[0].tensors, &state.moments.first, &state.moments.second})
    for (auto& tensor : *part) tensor.copy_(normal(tensor.sizes(), ++seed + 10));
  state.memory = {{"seen", normal({4}, seed + 30)}};
  return state;
}

const std::string kRun = R"({"batch":4,"config":{"channel_mult":[1,2],"dropout":0.0},"lr":0.1})";

std::string refusal(const fs::path& file, const std::string& run) {
  TrainState state = random_state(1);
  try {
    load_state(file, state, run);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(State, BeginsWithTheAverageAtTheWeights) {
  const TrainState state = initial_state({{"a", normal({3}, 1)}}, {{"a", at::zeros({3})}});
  EXPECT_TRUE(state.averages[0].tensors[0].equal(state.weights[0]));
  EXPECT_FALSE(state.averages[0].tensors[0].is_alias_of(state.weights[0]));
  EXPECT_TRUE(state.weights[0].requires_grad());
  EXPECT_FALSE(state.averages[0].tensors[0].requires_grad());
}

TEST_F(State, ComesBackBitForBit) {
  TrainState saved = random_state(1);
  saved.step = 1234567890123;
  saved.loss_sum = 1.0 / 3;
  saved.loss_steps = 17;
  saved.updates = 1234567890100;
  saved.loss_scale = {4096, 77};
  save_state(root / "state", saved, kRun);
  TrainState loaded = random_state(50);
  load_state(root / "state", loaded, kRun);
  EXPECT_EQ(loaded.step, saved.step);
  EXPECT_EQ(loaded.loss_sum, saved.loss_sum);
  EXPECT_EQ(loaded.loss_steps, saved.loss_steps);
  EXPECT_EQ(loaded.updates, saved.updates);
  EXPECT_EQ(loaded.loss_scale.scale, saved.loss_scale.scale);
  EXPECT_EQ(loaded.loss_scale.good_steps, saved.loss_scale.good_steps);
  EXPECT_TRUE(loaded.memory[0].second.equal(saved.memory[0].second));
  for (size_t i = 0; i < saved.names.size(); ++i) {
    EXPECT_TRUE(loaded.weights[i].equal(saved.weights[i]));
    EXPECT_TRUE(loaded.weights[i].requires_grad() && loaded.weights[i].is_leaf());
    EXPECT_TRUE(loaded.averages[0].tensors[i].equal(saved.averages[0].tensors[i]));
    EXPECT_TRUE(loaded.moments.first[i].equal(saved.moments.first[i]));
    EXPECT_TRUE(loaded.moments.second[i].equal(saved.moments.second[i]));
  }
}

TEST_F(State, NamesTheOptionThatDiffers) {
  const fs::path file = root / "state";
  save_state(file, random_state(1), kRun);
  const std::string start = file.string() + ": was written by a run with other options: ";
  const std::string end = ". Give the same options, or another --output.";
  EXPECT_EQ(refusal(file, R"({"batch":4,"config":{"channel_mult":[1,2],"dropout":0.0},"lr":0.1})"),
            "");
  EXPECT_EQ(refusal(file, R"({"batch":4,"config":{"channel_mult":[1,2],"dropout":0.0},"lr":0.2})"),
            start + "lr: got 0.1, expected 0.2" + end);
  EXPECT_EQ(refusal(file, R"({"batch":4,"config":{"channel_mult":[1],"dropout":0.0},"lr":0.1})"),
            start + "config.channel_mult: got [1,2], expected [1]" + end);
  EXPECT_EQ(refusal(file, R"({"batch":4,"config":{"channel_mult":[1,2]},"lr":0.1})"),
            start + "config.dropout: got 0.0, expected nothing" + end);
  EXPECT_EQ(refusal(file, R"({"batch":4,"config":{"channel_mult":[1,2],"dropout":0.0},"lr":0.1,)"
                          R"("seed":"s"})"),
            start + "seed: got nothing, expected \"s\"" + end);
}

TEST_F(State, SaysWhichOptionsChanged) {
  const fs::path file = root / "state";
  save_state(file, random_state(1), R"({"batch":4,"clip":1.0,"lr":0.1,"warmup":0})");
  TrainState state = random_state(1);
  const auto changes = [&](const std::string& run) {
    return load_state(file, state, run, {"lr", "clip", "warmup"});
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(changes(R"({"batch":4,"clip":1.0,"lr":0.1,"warmup":0})"), Lines());
  EXPECT_EQ(changes(R"({"batch":4,"clip":0.5,"lr":0.05,"warmup":0})"),
            (Lines{"lr 0.05 (it was 0.1)", "clip 0.5 (it was 1.0)"}));
  EXPECT_THROW(changes(R"({"batch":5,"clip":1.0,"lr":0.05,"warmup":0})"), Error);
}

/// A state that doesn't tell its data, as before, loads with none.
TEST_F(State, KnowsItsData) {
  const fs::path file = root / "state";
  TrainState saved = random_state(1), loaded = random_state(2);
  saved.data = "abc";
  save_state(file, saved, kRun);
  load_state(file, loaded, kRun);
  EXPECT_EQ(loaded.data, "abc");
  TensorFile old = load_safetensors(file);
  old.metadata.erase("data");
  save_safetensors(file, old.tensors, old.metadata);
  load_state(file, loaded, kRun);
  EXPECT_EQ(loaded.data, "");
}

TEST_F(State, RefusesWhatIsNotItsState) {
  const fs::path file = root / "state";
  const std::string deep(100000, '[');
  for (const std::string& run : {std::string(), std::string("[]"), std::string("{"), deep,
                                 "{\"config\":" + deep + std::string(100000, ']') + "}"}) {
    save_state(file, random_state(1), run);
    EXPECT_NE(refusal(file, kRun), "") << run.substr(0, 20);
  }
  for (const char* step : {"", "x", "-5", "nan", "1e300", "9223372036854775807"}) {
    save_state(file, random_state(1), kRun);
    TensorFile saved = load_safetensors(file);
    saved.metadata["step"] = step;
    save_safetensors(file, saved.tensors, saved.metadata);
    EXPECT_NE(refusal(file, kRun).find("step: got"), std::string::npos) << step;
  }
  save_safetensors(file, {{"weights.a", at::zeros({3, 2})}}, {{"run", kRun}});
  EXPECT_NE(refusal(file, kRun).find("missing or misshapen"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
