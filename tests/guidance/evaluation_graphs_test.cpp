#include "guidance/evaluation_graphs.h"

#include <ATen/record_function.h>

#include <sstream>

#include "guidance/conversation.h"
#include "models/device.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// LibTorch's operations that `work` calls, with what they are given but for what tensors hold:
/// all that a CUDA graph would fix.
std::vector<std::string> calls_of(const std::function<void()>& work) {
  static thread_local std::vector<std::string> calls;
  calls.clear();
  const auto note = [](const at::RecordFunction& call) -> std::unique_ptr<at::ObserverContext> {
    std::ostringstream text;
    text << call.name();
    for (const c10::IValue& input : call.inputs()) {
      if (input.isTensor() && input.toTensor().defined())
        text << ' ' << input.toTensor().sizes();
      else if (input.isTensorList() || input.isOptionalTensorList())
        text << ' ' << input.toListRef().size();
      else
        text << ' ' << input;
    }
    calls.push_back(text.str());
    return nullptr;
  };
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(note).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  return calls;
}

/// "Records" by keeping the work: a replay does it again, with what the recording's tensors hold,
/// and must call what was recorded.
Recorder keeping_recorder() {
  return [](const std::function<void()>& work) -> Replay {
    const auto recorded = calls_of(work);
    return [work, recorded] { EXPECT_EQ(calls_of(work), recorded); };
  };
}

/// A few steps from the batch's own noise.
Tensor sampled(const Model& model, GuidedBatch batch, std::shared_ptr<EvaluationGraphs> graphs,
               std::vector<ChosenGuidance>& chosen, GuidanceCost* cost = nullptr) {
  batch.graphs = std::move(graphs);
  const auto images = int64_t(batch.seeds.size());
  Tensor x = normal({images, 4, 8, 8}, batch.seeds.front());
  const Denoiser denoise = guided_denoiser(model, chosen, std::move(batch), true, cost);
  Tensor last = at::zeros_like(x);
  for (int step = 2; step < 6; ++step) {
    const Tensor epsilon = denoise(x, level_at(step)).epsilon;
    x = x - 0.3 * epsilon - 0.1 * last;
    last = epsilon;
  }
  return x;
}

struct Runs {
  explicit Runs(const Model& model, std::string text, Recorder recorder = keeping_recorder())
      : model(model),
        text(std::move(text)),
        graphs(std::make_shared<EvaluationGraphs>(std::move(recorder))),
        chosen(choose_guidances({this->text}, model)) {}

  /// A recording of a network that reads prompts makes their keys and values once more.
  void expect_equal(const GuidedBatch& batch) {
    const c10::InferenceMode inference;
    SCOPED_TRACE(model.kind + " " + text);
    auto fresh = choose_guidances({text}, model);
    GuidanceCost expected, cost;
    const int64_t recordings = graphs->recordings();
    const Tensor plain = sampled(model, batch, nullptr, fresh, &expected);
    EXPECT_TRUE(at::equal(sampled(model, batch, graphs, chosen, &cost), plain));
    const bool again = model.reads_text() && graphs->recordings() > recordings;
    EXPECT_EQ(cost.flops.spent > expected.flops.spent, again);
    if (!again) {
      EXPECT_EQ(cost.flops.spent, expected.flops.spent);
    }
    EXPECT_EQ(cost.flops.unshared, expected.flops.unshared);
  }

  const Model& model;
  std::string text;
  std::shared_ptr<EvaluationGraphs> graphs;
  std::vector<ChosenGuidance> chosen;
};

/// What the tests below compare at each replay.
TEST(EvaluationGraphs, AValueOfTheHostsShowsInTheCalls) {
  const Tensor x = at::ones({3});
  int step = 0;
  const auto of_tensors = [&] { return calls_of([&] { x.add(x, 2); }); };
  const auto of_the_host = [&] { return calls_of([&] { x.add(x, ++step); }); };
  EXPECT_FALSE(of_tensors().empty());
  EXPECT_EQ(of_tensors(), of_tensors());
  EXPECT_NE(of_the_host(), of_the_host());
}

TEST(EvaluationGraphs, EqualEvaluationsWithoutThem) {
  const Model toy = toy_model(), text = text_model();
  for (const std::string each :
       {"none", "cfg:scale=3 + tpg:layers=all", "cfg + pag + seg", "seg:sigma=1", "asag",
        "apg:momentum=-0.5", "cfg:scale=2 + tpg + tpg:layers=m0", "slg"}) {
    Runs runs(toy, each);
    runs.expect_equal(toy_batch({0, 2}, {7, 8}));
    EXPECT_EQ(runs.graphs->recordings(), 1) << each;
    EXPECT_EQ(runs.graphs->replays(), 3) << each;
  }
  Runs(toy, "swg").expect_equal(toy_batch({0, 2}, {7, 8}));
  Runs(text, "cfg + slg + tpg").expect_equal(text_batch({7, 8}));
  Runs altered(text, "cfg + pladis + freeu + tag");
  altered.expect_equal(text_batch({7, 8}));
  EXPECT_EQ(altered.graphs->recordings(), 1);
  Runs parted(text, "cfg + pladis:to=0.4 + freeu:from=0.4,version=2");
  parted.expect_equal(text_batch({7, 8}));
  EXPECT_EQ(parted.graphs->recordings(), 2);
}

TEST(EvaluationGraphs, OtherPromptsAndSeedsNeedNoOtherRecording) {
  const Model toy = toy_model(), text = text_model();
  Runs classes(toy, "cfg:scale=3 + tpg");
  classes.expect_equal(toy_batch({0, 2}, {7, 8}));
  classes.expect_equal(toy_batch({1, 1}, {9, 3}));
  EXPECT_EQ(classes.graphs->recordings(), 1);
  EXPECT_EQ(classes.graphs->replays(), 3 + 4);
  Runs prompts(text, "cfg:scale=3 + asag");
  prompts.expect_equal(text_batch({7, 8}));
  prompts.expect_equal(text_batch({5, 1}));
  EXPECT_EQ(prompts.graphs->recordings(), 1);
}

/// The recording that makes keys and values is replayed for new prompts alone.
TEST(EvaluationGraphs, PromptsAreProjectedOnceARun) {
  const Model text = text_model();
  int recorded = 0;
  std::vector<int> replayed;
  Runs runs(text, "cfg:scale=3", [&](const std::function<void()>& work) -> Replay {
    work();
    return [&replayed, work, which = recorded++] {
      replayed.push_back(which);
      work();
    };
  });
  runs.expect_equal(text_batch({7, 8}));
  EXPECT_EQ(replayed, (std::vector{0, 1, 1}));
  replayed.clear();
  runs.expect_equal(text_batch({5, 1}));
  EXPECT_EQ(replayed, (std::vector{0, 1, 1, 1}));
  EXPECT_EQ(recorded, 2);
}

TEST(EvaluationGraphs, OtherShapesAndBranchesDo) {
  const Model toy = toy_model();
  Runs runs(toy, "cfg:scale=3");
  runs.expect_equal(toy_batch({0, 2}, {7, 8}));
  runs.expect_equal(toy_batch({0, 2, 1}, {7, 8, 9}));
  EXPECT_EQ(runs.graphs->recordings(), 2);
  Runs interval(toy, "cfg:scale=3,from=0.3,to=0.5");
  interval.expect_equal(toy_batch({0, 2}, {7, 8}));
  EXPECT_EQ(interval.graphs->recordings(), 2);
}

/// SAG's first stage reads queries and keys; its second, of the blurred input, is recorded.
TEST(EvaluationGraphs, WhatReadsAttentionIsntRecorded) {
  const Model toy = toy_model();
  Runs runs(toy, "sag");
  runs.expect_equal(toy_batch({0, 2}, {7, 8}));
  EXPECT_EQ(runs.graphs->recordings(), 1);
  EXPECT_EQ(runs.graphs->replays(), 3);
}

TEST(EvaluationGraphs, WhereRecordingFailsAllGoesOn) {
  const Model toy = toy_model();
  int tried = 0;
  Runs runs(toy, "cfg:scale=3", [&](const std::function<void()>&) -> Replay {
    ++tried;
    TORCH_CHECK(false, "not permitted while a stream is captured");
  });
  runs.expect_equal(toy_batch({0, 2}, {7, 8}));
  EXPECT_EQ(tried, 1);
  EXPECT_EQ(runs.graphs->recordings(), 0);
  EXPECT_EQ(runs.graphs->problem(), "not permitted while a stream is captured");
}

/// A recording reads the permutations at the place where it found them.
TEST(EvaluationGraphs, PermutationsKeepTheirPlace) {
  const c10::InferenceMode inference;
  const Model toy = toy_model();
  auto chosen = choose_guidances({"tpg:layers=all"}, toy);
  Conversation conversation(toy, chosen, toy_batch({0, 2}, {7, 8}));
  const Tensor x = normal({2, 4, 8, 8}, 5);
  const auto permutations = [&](int step) {
    conversation.begin(x, level_at(step));
    std::vector<Tensor> found;
    for (const Question& question : conversation.ask())
      for (const Branch& branch : question.branches)
        if (branch.perturbation)
          for (const Site& site : toy.network->sites())
            found.push_back(branch.perturbation->permutation(site));
    return found;
  };
  const auto first = permutations(2);
  ASSERT_EQ(first.size(), 4u);
  std::vector<Tensor> copies;
  for (const Tensor& permutation : first) copies.push_back(permutation.clone());
  const auto second = permutations(3);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].const_data_ptr(), second[i].const_data_ptr());
    EXPECT_FALSE(at::equal(copies[i], second[i]));
  }
}

TEST(EvaluationGraphs, SeveralBatchSizesHaveTheirPlaces) {
  const c10::InferenceMode inference;
  const Model toy = toy_model();
  Runs runs(toy, "cfg:scale=3 + tpg");
  for (int round = 0; round < 2; ++round) {
    runs.expect_equal(toy_batch({0, 2}, {7, 8}));
    runs.expect_equal(toy_batch({0, 2, 1}, {7, 8, 9}));
  }
  EXPECT_EQ(runs.graphs->recordings(), 2);
}

TEST(EvaluationGraphsCuda, EqualEvaluationsWithoutThem) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const c10::InferenceMode inference;
  Model model = text_model();
  for (auto& [name, tensor] : model.parameters) tensor.set_data(tensor.to(at::kCUDA));
  const auto there = [](Tensor& t) { t = t.to(at::kCUDA); };
  for (const std::string each : {"none", "cfg + tpg", "cfg + pag", "asag", "seg:sigma=1", "slg"}) {
    Runs runs(model, each, graph_recorder(at::Device(at::kCUDA, 0)));
    for (const uint64_t seed : {7, 5}) {
      GuidedBatch batch = text_batch({seed, seed + 1});
      for (auto* part : {&batch.positive, &*batch.negative, &*batch.empty}) there(part->context);
      auto fresh = choose_guidances({each}, model);
      const auto run = [&](auto graphs, auto& chosen) {
        batch.graphs = graphs;
        Tensor x = normal({2, 4, 8, 8}, seed).to(at::kCUDA);
        const Denoiser denoise = guided_denoiser(model, chosen, batch, true);
        for (int step = 2; step < 6; ++step) x = x - 0.3 * denoise(x, level_at(step)).epsilon;
        return x;
      };
      EXPECT_LT(relative_error(run(runs.graphs, runs.chosen).cpu(),
                               run(std::shared_ptr<EvaluationGraphs>(), fresh).cpu()),
                1e-5)
          << each;
    }
    EXPECT_EQ(runs.graphs->recordings(), 1) << each;
  }
}

}  // namespace
}  // namespace tiller::test
