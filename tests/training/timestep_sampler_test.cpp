#include "training/timestep_sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/error.h"
#include "io/file.h"

namespace tiller::test {
namespace {

using Json = nlohmann::json;

Tensor evenly(int64_t count) { return (at::arange(count, at::kDouble) + 0.5) / double(count); }

TEST(TimestepSampler, CoversTheScheduleUniformly) {
  const TimestepSampler sampler(TimestepRule::uniform, 50, at::kCPU);
  const Tensor counts = sampler.draw(evenly(5000).to(at::kFloat)).bincount({}, 50);
  EXPECT_TRUE((counts == 100).all().item<bool>());
  EXPECT_FALSE(sampler.weights(at::zeros({1}, at::kLong)).defined());
}

TEST(TimestepSampler, DrawsByTheSecondMomentAsDdpmIp) {
  const Json fixture =
      Json::parse(read_file(TILLER_FIXTURES "/objectives.json")).at("second_moment");
  TimestepSampler sampler(TimestepRule::loss_second_moment, 5, at::kCPU);
  EXPECT_FALSE(sampler.weights(at::zeros({1}, at::kLong)).defined()) << "nothing is known yet";
  sampler.learn(at::tensor(fixture.at("timesteps").get<std::vector<int64_t>>()),
                at::tensor(fixture.at("losses").get<std::vector<double>>(), at::kDouble));
  const Tensor expected =
      at::tensor(fixture.at("probabilities").get<std::vector<double>>(), at::kDouble);
  constexpr int64_t draws = 100000;
  const Tensor shares = sampler.draw(evenly(draws)).bincount({}, 5).to(at::kDouble) / double(draws);
  EXPECT_TRUE(at::allclose(shares, expected, 0, 2e-5)) << shares << expected;
  const Tensor weights = sampler.weights(at::arange(5, at::kLong)).to(at::kDouble);
  EXPECT_TRUE(at::allclose(weights * expected * 5, at::ones({5}, at::kDouble), 1e-6, 0));
}

TEST(TimestepSampler, NamesWhatThereIs) {
  EXPECT_EQ(timestep_rule_from("loss-second-moment"), TimestepRule::loss_second_moment);
  EXPECT_THROW(timestep_rule_from("loss"), UsageError);
}

}  // namespace
}  // namespace tiller::test
