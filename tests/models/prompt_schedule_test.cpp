#include "models/prompt_schedule.h"

#include "io/error.h"
#include "tests/fixture.h"

namespace tiller {
namespace {

using test::fixture;

TEST(PromptSchedule, ReadsWhatAutomatic1111Does) {
  for (const auto& entry : fixture("prompt_schedules.json")) {
    const std::string prompt = entry["prompt"];
    const auto schedule = prompt_schedule(prompt, entry["steps"]);
    ASSERT_EQ(schedule.at.size(), entry["texts"].size());
    for (size_t step = 0; step < schedule.at.size(); ++step)
      EXPECT_EQ(schedule.texts.at(schedule.at[step]), entry["texts"][step])
          << prompt << ", step " << step;
  }
}

TEST(PromptSchedule, TextsAreDistinct) {
  const auto schedule = prompt_schedule("a [b|c] d", 7);
  EXPECT_EQ(schedule.texts, (std::vector<std::string>{"a b d", "a c d"}));
  EXPECT_EQ(schedule.at, (std::vector<size_t>{0, 0, 1, 0, 1, 0, 1}));
  EXPECT_TRUE(schedule.changes());
  EXPECT_FALSE(prompt_schedule("a [b:c:0] d", 7).changes());
}

TEST(PromptSchedule, BearsWhatNobodyWrites) {
  std::string deep, turns = "[a", open(60'000, '[');
  for (int i = 0; i < 20'000; ++i) deep += "[a:";
  for (int i = 0; i < 20'000; ++i) deep += ":3]";
  for (int i = 0; i < 2'000; ++i) turns += "|" + std::to_string(i);
  EXPECT_EQ(prompt_schedule(open, 5).texts.front(), open);
  EXPECT_FALSE(prompt_schedule(deep, 5).texts.empty());
  EXPECT_EQ(prompt_schedule(turns + "]", 900).texts.size(), 899u);
  EXPECT_THROW(prompt_schedule(turns + "]", 5000), Error);
}

}  // namespace
}  // namespace tiller
