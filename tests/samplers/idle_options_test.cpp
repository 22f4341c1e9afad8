#include "samplers/idle_options.h"

#include <gtest/gtest.h>

#include "samplers/defaults.h"
#include "samplers/scheduler_config.h"

namespace tiller {
namespace {

/// What is said of "NAME:OPTIONS" on a schedule, over a sampler's own options or the model's.
std::string complaint(const std::string& name, const std::string& text,
                      const NoiseSchedule& schedule, const std::vector<Option>& usual) {
  const Sampler& sampler = find_sampler(name);
  const Options options = parse_options("sampler", text, usual);
  std::string all;
  for (const auto& line :
       idle_options(sampler, text, options, schedule, default_trajectory_config(schedule))) {
    EXPECT_TRUE(line.starts_with("sampler " + name + ": ")) << line;
    all += line + "\n";
  }
  return all;
}

std::string complaint(const std::string& name, const std::string& text) {
  return complaint(name, text, diffusers_schedule({}), find_sampler(name).options);
}

std::string configured(const std::string& name, const std::string& text,
                       const nlohmann::json& config) {
  const auto setup = read_scheduler_config(config);
  const Sampler& sampler = find_sampler(name);
  return complaint(name, text, configured_schedule(setup, sampler),
                   configured_options(setup, sampler));
}

void expect_complaint(const std::string& name, const std::string& text,
                      const std::string& expected) {
  const std::string said = complaint(name, text);
  EXPECT_NE(said.find(expected), std::string::npos) << name << ":" << text << " " << said;
}

TEST(IdleOptions, ThresholdingNeedsRoomForTheQuantile) {
  const std::string idle = "sample_max_value: got 1 with thresholding=true, expected more than 1";
  expect_complaint("ddim", "thresholding=true", idle);
  expect_complaint("ddim", "thresholding=true,sample_max_value=1", idle);
  expect_complaint("ddim", "thresholding=true,sample_max_value=0.5", "got 0.5 with thresholding");
  EXPECT_EQ(complaint("ddim", "thresholding=true,sample_max_value=1.5"), "");
  EXPECT_EQ(
      complaint("ddim", "thresholding=true,sample_max_value=1.5,dynamic_thresholding_ratio=0.9"),
      "");
}

TEST(IdleOptions, LimitsNeedTheirSwitches) {
  expect_complaint("ddim", "dynamic_thresholding_ratio=0.9",
                   "dynamic_thresholding_ratio: got 0.9 without thresholding, expected both.");
  expect_complaint("euler", "sample_max_value=2", "without thresholding");
  expect_complaint("ddim", "clip_sample_range=2", "without clip_sample or reflect_sample");
  expect_complaint("ddim", "clip_sample=false,clip_sample_range=2", "without clip_sample");
  EXPECT_EQ(complaint("ddim", "clip_sample=true,clip_sample_range=2"), "");
  EXPECT_EQ(complaint("ddim", "reflect_sample=true,clip_sample_range=2"), "");
}

TEST(IdleOptions, OneLimitCounts) {
  const std::string room = "thresholding=true,sample_max_value=2,";
  expect_complaint("ddim", room + "reflect_sample=true", "reflect_sample: got true with threshold");
  expect_complaint("ddim", room + "clip_sample=true", "clip_sample: got true with thresholding");
  expect_complaint("ddim", room + "clip_sample_range=2", "clip_sample_range: got 2");
  expect_complaint("ddim", "reflect_sample=true,clip_sample=true", "with reflect_sample=true");
  EXPECT_EQ(complaint("ddim", room + "reflect_sample=false,clip_sample=false"), "");
}

TEST(IdleOptions, ChurnsNumbersNeedChurn) {
  for (const std::string name : {"euler", "heun", "dpm2"}) {
    for (const std::string option : {"s_tmin", "s_tmax", "s_noise"}) {
      expect_complaint(name, option + "=1.007", option + ": got 1.007 without s_churn, expected");
      expect_complaint(name, "s_churn=0," + option + "=1", "without s_churn");
      EXPECT_EQ(complaint(name, "s_churn=30," + option + "=1"), "");
    }
  }
  EXPECT_EQ(complaint("euler-a", "s_noise=1.003"), "");
  expect_complaint("euler-a", "eta=0,s_noise=1.003", "s_noise: got 1.003 without eta");
  expect_complaint("dpm++2m-sde", "eta=0,s_noise=1.003", "s_noise: got 1.003 without eta");
  expect_complaint("dpm2-a", "eta=0,s_noise=1.003", "s_noise: got 1.003 without eta");
  expect_complaint("sa-solver", "tau=0,tau_low=100", "tau_low: got 100 without tau");
}

TEST(IdleOptions, ThirdOrderNeedsThreeSteps) {
  expect_complaint("dpm++3m", "order=2,third_order=exact", "third_order: got exact with order=2");
  EXPECT_EQ(complaint("dpm++3m", "third_order=exact"), "");
}

TEST(IdleOptions, SigmasNeedARule) {
  for (const std::string option : {"sigma_min=0.1", "sigma_max=10", "rho=5"}) {
    for (const std::string name : {"ddim", "ddpm", "pndm", "lcm", "tcd", "bdia", "ge"})
      expect_complaint(name, option, "which moves no level of this run");
    for (const std::string name :
         {"euler", "heun", "lms", "dpm++2m", "unipc", "euler-a", "dpm2", "deis"}) {
      expect_complaint(name, option, "which moves no level of this run");
      expect_complaint(name, option + ",sigmas=ays-sd15", "which moves no level of this run");
      EXPECT_EQ(complaint(name, option + ",sigmas=karras"), "") << name << " " << option;
    }
    EXPECT_EQ(complaint("ge", option + ",sigmas=karras"), "") << option;
    EXPECT_EQ(complaint("dpm++2m-karras", option), "") << option;
  }
  EXPECT_EQ(complaint("euler", "sigma_max=10,sigmas=exponential"), "");
  expect_complaint("euler", "rho=5,sigmas=exponential", "rho: got 5, which moves no level");
}

TEST(IdleOptions, LevelsThatAreChosenOtherwise) {
  const std::string idle = "which moves no level of this run";
  for (const std::string option : {"spacing=trailing", "offset=1", "final=sigma_min"})
    for (const std::string name : {"lcm", "tcd"}) expect_complaint(name, option, idle);
  for (const std::string name : {"ddim", "ddpm"}) expect_complaint(name, "final=sigma_min", idle);
  for (const std::string option : {"spacing=trailing", "offset=1"})
    expect_complaint("dpm++2m-karras", option, idle);
  for (const std::string name : {"ddim", "euler", "dpm++2m", "pndm"})
    EXPECT_EQ(complaint(name, "spacing=trailing"), "") << name;
  EXPECT_EQ(complaint("ddim", "spacing=leading,offset=1"), "");
  EXPECT_EQ(complaint("euler", "final=sigma_min"), "");
  EXPECT_EQ(complaint("deis", "final=zero"), "");
}

TEST(IdleOptions, LimitsThatAreNotRead) {
  for (const std::string name : {"pndm", "o-belm", "rex"})
    for (const std::string limit : {"clip_sample", "reflect_sample", "thresholding"})
      expect_complaint(name, limit + "=true", "this sampler reads epsilon alone");
  EXPECT_EQ(complaint("ddim", "clip_sample=true"), "");
}

TEST(IdleOptions, EdmsSigmasHaveARule) {
  const auto schedule = edm_schedule();
  for (const std::string option : {"sigma_min=0.01", "sigma_max=20", "rho=5"}) {
    const auto said = [&](const std::string& name) {
      return complaint(name, option, schedule, find_sampler(name).options);
    };
    EXPECT_EQ(said("heun"), "");
    EXPECT_EQ(said("dpm++2m"), "");
    EXPECT_NE(said("ddim"), "");
  }
}

/// diffusers' own sample_max_value is 1, and its files name what they don't use.
TEST(IdleOptions, TheModelsOwnAreTaken) {
  const nlohmann::json limited = {{"_class_name", "DDIMScheduler"},
                                  {"thresholding", true},
                                  {"sample_max_value", 1.0},
                                  {"clip_sample", true},
                                  {"clip_sample_range", 2.0}};
  EXPECT_EQ(configured("ddim", "", limited), "");
  EXPECT_EQ(configured("ddim", "eta=0.5", limited), "");
  EXPECT_NE(configured("ddim", "dynamic_thresholding_ratio=0.9", limited), "");
  EXPECT_EQ(configured("ddim", "sample_max_value=1.5", limited), "");
  EXPECT_NE(configured("ddim", "reflect_sample=true", limited), "");
  const nlohmann::json ends = {{"_class_name", "EulerDiscreteScheduler"}, {"sigma_max", 10.0}};
  EXPECT_EQ(configured("euler", "", ends), "");
  EXPECT_NE(configured("euler", "sigma_min=0.1", ends), "");
  EXPECT_EQ(configured("ddim", "clip_sample_range=0.5", {{"_class_name", "DDIMScheduler"}}), "");
}

}  // namespace
}  // namespace tiller
