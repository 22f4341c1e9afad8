#include "samplers/scheduler_config.h"

#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

const Json kStableDiffusion = R"({
  "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
  "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
  "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null,
  "clip_sample": false})"_json;

Options configured(const Json& json, const std::string& sampler, const std::string& text = "") {
  const auto setup = read_scheduler_config(json);
  return parse_options("sampler", text, configured_options(setup, find_sampler(sampler)));
}

NoiseSchedule schedule_of(const Json& json, const std::string& sampler) {
  return configured_schedule(read_scheduler_config(json), find_sampler(sampler));
}

Json with(const std::string& key, const Json& value) {
  Json json = kStableDiffusion;
  json[key] = value;
  return json;
}

void expect_message(const Json& json, const std::string& expected) {
  try {
    read_scheduler_config(json);
    ADD_FAILURE() << "no error, expected: " << expected;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find("scheduler_config.json: "), 0u) << error.what();
  }
}

TEST(SchedulerConfig, ClassesStandForSamplers) {
  const auto sampler = [](const char* text) {
    return configured_sampler(read_scheduler_config(Json::parse(text)));
  };
  EXPECT_EQ(sampler(R"({"_class_name": "DDIMScheduler"})"), "ddim");
  EXPECT_EQ(sampler(R"({"_class_name": "EulerAncestralDiscreteScheduler"})"), "euler-a");
  EXPECT_EQ(sampler(R"({"_class_name": "DPMSolverMultistepScheduler"})"), "dpm++2m");
  EXPECT_EQ(sampler(R"({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3,
                        "algorithm_type": "sde-dpmsolver++"})"),
            "dpm++3m-sde");
  EXPECT_EQ(sampler(R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})"),
            "euler");
  EXPECT_EQ(sampler(R"({"_class_name": "KDPM2DiscreteScheduler"})"), "dpm2");
  EXPECT_EQ(sampler(R"({"_class_name": "KDPM2AncestralDiscreteScheduler"})"), "dpm2-a");
  EXPECT_EQ(sampler(R"({"_class_name": "DEISMultistepScheduler"})"), "deis");
  EXPECT_EQ(sampler(R"({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "deis"})"),
            "dpm++2m");  // as diffusers reads it
  EXPECT_THROW(sampler(R"({"_class_name": "DPMSolverMultistepScheduler",
                           "algorithm_type": "dpmsolver"})"),
               Error);
  EXPECT_EQ(sampler(R"({"_class_name": "DPMSolverSinglestepScheduler"})"), "dpm++2s");
  EXPECT_EQ(sampler(R"({"_class_name": "DPMSolverSinglestepScheduler", "solver_order": 3})"),
            "dpm++3s");
  EXPECT_EQ(sampler(R"({"_class_name": "SASolverScheduler"})"), "sa-solver");
  EXPECT_THROW(sampler(R"({"_class_name": "SASolverScheduler",
                           "algorithm_type": "noise_prediction"})"),
               Error);
  EXPECT_THROW(sampler(R"({"_class_name": "DPMSolverSinglestepScheduler",
                           "algorithm_type": "sde-dpmsolver++"})"),
               Error);
  EXPECT_THROW(sampler(R"({"_class_name": "DEISMultistepScheduler",
                           "algorithm_type": "sde-dpmsolver++"})"),
               Error);
  EXPECT_THROW(sampler("{}"), Error);
}

TEST(SchedulerConfig, EveryClassHasItsSampler) {
  std::set<std::string> classes;
  for (const auto& sampler : samplers()) {
    if (sampler.scheduler.empty()) continue;
    classes.insert(sampler.scheduler);
    Json json = kStableDiffusion;
    json["_class_name"] = sampler.scheduler;
    const auto name = configured_sampler(read_scheduler_config(json));
    EXPECT_EQ(find_sampler(name).scheduler, sampler.scheduler);
  }
  EXPECT_EQ(classes.size(), 17u);
}

TEST(SchedulerConfig, MissingKeysAreTheClasssOwn) {
  EXPECT_EQ(configured(kStableDiffusion, "euler-a").text("spacing"), "linspace");
  EXPECT_EQ(configured(kStableDiffusion, "ddim").text("spacing"), "leading");
  EXPECT_EQ(configured(kStableDiffusion, "ddim").integer("offset"), 1);
  EXPECT_FALSE(configured(kStableDiffusion, "ddim").flag("set_alpha_to_one"));
  EXPECT_TRUE(configured(kStableDiffusion, "pndm").flag("skip_prk_steps"));
  EXPECT_FALSE(configured(Json::object(), "pndm").flag("skip_prk_steps"));
  EXPECT_TRUE(configured(Json::object(), "ddim").flag("clip_sample"));
  EXPECT_FALSE(configured(kStableDiffusion, "ddim").flag("clip_sample"));
  EXPECT_EQ(configured(kStableDiffusion, "deis").text("final"), "sigma_min");
  EXPECT_EQ(configured(with("final_sigmas_type", "zero"), "deis").text("final"), "sigma_min");
  EXPECT_EQ(configured(with("solver_order", 3), "deis").integer("order"), 3);
  EXPECT_EQ(configured(with("predictor_order", 3), "sa-solver").integer("order"), 3);
  EXPECT_EQ(configured(kStableDiffusion, "dpm++2s").integer("offset"), 0);  // it has no such key
  EXPECT_EQ(configured(with("timestep_spacing", "leading"), "dpm++2s").text("spacing"), "linspace");
  EXPECT_NEAR(sigma_table(schedule_of(Json::object(), "heun")).back(), 25.1, 0.1);  // its own betas
  EXPECT_NEAR(sigma_table(schedule_of(Json::object(), "dpm2")).back(), 25.1, 0.1);
  EXPECT_NEAR(sigma_table(schedule_of(Json::object(), "lcm")).back(), 14.61, 0.01);
}

TEST(SchedulerConfig, KeysOfOtherClassesAreIgnored) {
  const Json json = with("use_karras_sigmas", true);
  EXPECT_EQ(configured(json, "dpm++2m").text("sigmas"), "karras");
  EXPECT_EQ(configured(json, "ddim").text("sigmas"), "none");
  EXPECT_FALSE(configured(with("clip_sample", true), "euler").has("clip_sample"));
  EXPECT_NO_THROW(read_scheduler_config(with("something_new", {{"a", 1}})));
}

TEST(SchedulerConfig, OptionsOverrideKeys) {
  const auto options = configured(kStableDiffusion, "ddim", "spacing=trailing,offset=0");
  EXPECT_EQ(with_options({}, options).spacing, Spacing::trailing);
  EXPECT_EQ(with_options({}, options).steps_offset, 0);
}

TEST(SchedulerConfig, SolverTypesAreTranslated) {
  EXPECT_EQ(configured(with("solver_type", "heun"), "unipc").text("solver"), "bh2");
  EXPECT_EQ(configured(with("solver_type", "bh1"), "dpm++2m").text("solver"), "midpoint");
  EXPECT_EQ(configured(with("solver_order", 3), "unipc").integer("order"), 3);
  Json dpm = with("solver_order", 1);
  EXPECT_EQ(configured(dpm, "dpm++2m").integer("order"), 2);  // PNDM's file
  dpm["_class_name"] = "DPMSolverMultistepScheduler";
  EXPECT_EQ(configured(dpm, "dpm++2m").integer("order"), 1);
  EXPECT_EQ(configured(dpm, "dpm++2m-sde").integer("order"), 2);
}

TEST(SchedulerConfig, RefusesWrongTypesAndBounds) {
  expect_message(Json::array(), "expected an object");
  expect_message(with("beta_start", "0.1"), "beta_start: got \"0.1\", expected a number");
  expect_message(with("beta_end", 2), "beta_end: got 2");
  expect_message(with("num_train_timesteps", 0), "num_train_timesteps");
  expect_message(with("num_train_timesteps", 1e12), "num_train_timesteps");
  expect_message(with("num_train_timesteps", 1000.5), "num_train_timesteps");
  expect_message(with("steps_offset", -1), "steps_offset");
  expect_message(with("clip_sample", 1), "clip_sample: got 1, expected true or false");
  expect_message(with("prediction_type", "score"), "prediction_type");
  expect_message(with("beta_schedule", Json::array()), "beta_schedule");
  expect_message(with("trained_betas", {0.1, "x"}), "trained_betas");
  expect_message(with("trained_betas", {0.1, 1.5}), "trained_betas");
  expect_message(with("_class_name", 3), "_class_name");
}

TEST(SchedulerConfig, RefusesWhatNoSamplerDoes) {
  EXPECT_THROW(configured(with("use_flow_sigmas", true), "unipc"), Error);
  EXPECT_THROW(configured(with("use_flow_sigmas", true), "deis"), Error);
  EXPECT_NO_THROW(configured(with("use_flow_sigmas", true), "ddim"));
  EXPECT_THROW(configured(with("predict_x0", false), "unipc"), Error);
  EXPECT_THROW(configured(with("timestep_type", "continuous"), "euler"), Error);
  Json two = with("use_karras_sigmas", true);
  two["use_beta_sigmas"] = true;
  EXPECT_THROW(configured(two, "euler"), Error);
  EXPECT_THROW(schedule_of(with("trained_betas", {0.1, 0.2}), "ddim"), Error);
}

TEST(SchedulerConfig, ZeroTerminalSnrNeedsMoreThanEpsilon) {
  Json json = with("rescale_betas_zero_snr", true);
  json["timestep_spacing"] = "trailing";
  const auto trajectory = find_sampler("ddim").trajectory(
      schedule_of(json, "ddim"), with_options({10}, configured(json, "ddim")));
  EXPECT_EQ(trajectory.levels.front().alpha, 0);
  EXPECT_NO_THROW(require_signal(trajectory, PredictionType::v));
  EXPECT_THROW(require_signal(trajectory, PredictionType::epsilon), Error);
}

}  // namespace
}  // namespace tiller
