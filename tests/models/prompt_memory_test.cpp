#include "models/prompt_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tiller::test {
namespace {

using at::Tensor;

struct Asked {
  PromptMemory memory;
  int made = 0;

  /// The number of the making that the answer comes from.
  int operator()(const std::vector<Tensor>& prompts, const void* layer) {
    const auto make = [&] { return PromptHeads{at::scalar_tensor(++made), at::zeros({1})}; };
    return memory.recall_or(prompts, layer, make).k.item<int>();
  }
};

TEST(PromptMemory, MakesOnceForTheVerySameTensorsAndLayer) {
  const Tensor a = at::zeros({1, 2, 3}), b = at::ones({1, 2, 3});
  const int layer = 0, other = 0;
  Asked asked;
  for (int step = 0; step < 9; ++step) {
    asked.memory.begin_step();
    EXPECT_EQ(asked({a, b}, &layer), 1);
    EXPECT_EQ(asked({a, b}, &other), 2);
    EXPECT_EQ(asked({b, a}, &layer), 3);
    EXPECT_EQ(asked({a}, &layer), 4);
    EXPECT_EQ(asked({a, b}, &layer), 1);
  }
  EXPECT_EQ(asked({a.clone(), b}, &layer), 5);
  asked.memory.clear();
  EXPECT_TRUE(asked.memory.empty());
  EXPECT_EQ(asked({a, b}, &layer), 6);
}

TEST(PromptMemory, GivesUpWhatTheStepBeforeDidntRead) {
  const Tensor a = at::zeros({1}), b = at::ones({1});
  const int layer = 0;
  Asked asked;
  const auto step = [&](const Tensor& prompt) {
    asked.memory.begin_step();
    return asked({prompt}, &layer);
  };
  EXPECT_EQ(step(a), 1);
  EXPECT_EQ(step(a), 1);
  EXPECT_EQ(step(b), 2);
  EXPECT_EQ(step(b), 2);
  EXPECT_EQ(step(a), 3);
}

/// Prompts drawn anew at each step (icg) don't pile up.
TEST(PromptMemory, HoldsNoneThatNobodyElseHolds) {
  const int layer = 0;
  const Tensor lasting = at::ones({1});
  PromptMemory memory;
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> seen;
  for (int i = 0; i < 20; ++i) {
    memory.begin_step();
    const Tensor prompt = at::zeros({1});
    seen.emplace_back(prompt.getIntrusivePtr());
    memory.recall_or({lasting, prompt}, &layer, [] { return PromptHeads{}; });
    EXPECT_EQ(std::ranges::count_if(seen, [](const auto& one) { return !one.expired(); }), 1);
  }
}

}  // namespace
}  // namespace tiller::test
