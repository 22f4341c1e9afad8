#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// Text-to-image models that are EDM's, as Playground 2.5 and CosXL.
class EdmPipelines : public Pipelines {
 protected:
  void make(const Json& scheduler) const {
    make_pipeline("sdxl");
    write("sdxl/scheduler/scheduler_config.json", scheduler.dump());
  }

  static Json cosxl() {
    return {{"_class_name", "EDMEulerScheduler"},
            {"sigma_max", 120.0},
            {"sigma_data", 1.0},
            {"sigma_schedule", "exponential"},
            {"prediction_type", "v_prediction"}};
  }

  void expect_refusal(const std::string& flags, const std::string& expected) const {
    const Result result = tiller(command("sdxl", flags));
    EXPECT_NE(result.code, 0);
    EXPECT_NE(result.err.find(expected), std::string::npos) << result.err;
  }
};

TEST_F(EdmPipelines, EqualDiffusers) {
  make_picture_and_mask();
  const Json runs = test::fixture("edm_pipelines.json");
  ASSERT_FALSE(runs.empty());
  for (const Json& run : runs) {
    make(run.at("scheduler"));
    std::string flags = "--guidance cfg:scale=" + run.at("cfg").dump();
    if (!run.at("strength").is_null())
      flags += " --init-image picture.png --strength " + run.at("strength").dump();
    SCOPED_TRACE(run.at("scheduler").dump() + " " + flags);
    expect_latents(latents_of(command("sdxl", flags)), run);
  }
}

TEST_F(EdmPipelines, RunEverySamplerOnSigmas) {
  make(cosxl());
  const Tensor euler = latents_of(command("sdxl", "--steps 60"));
  for (const std::string sampler : {"heun", "dpm++2m", "unipc", "ddim"}) {
    const Tensor other = latents_of(command("sdxl", "--steps 60 --sampler " + sampler));
    EXPECT_LT(relative_error(other, euler), 0.1) << sampler;
  }
}

TEST_F(EdmPipelines, AreCalledSoByInfo) {
  make(cosxl());
  const Result info = tiller("info sdxl");
  EXPECT_NE(info.out.find("EDMEulerScheduler, sigma from 0.002 to 120.0, exponential"),
            std::string::npos)
      << info.out << info.err;
  EXPECT_EQ(Json::parse(tiller("info sdxl --json").out).at("prediction"), "edm");
}

TEST_F(EdmPipelines, RefuseWhatTheirSchedulerSays) {
  make(cosxl());
  expect_refusal("--prediction-type epsilon", "the model's EDMEulerScheduler says it");
  Json scheduler = cosxl();
  scheduler["sigma_data"] = 0;
  make(scheduler);
  expect_refusal("", "sigma_data");
  scheduler = cosxl();
  scheduler["sigma_min"] = 200;
  make(scheduler);
  expect_refusal("", "sigma_max");
  scheduler = cosxl();
  scheduler["prediction_type"] = "sample";
  make(scheduler);
  expect_refusal("", "epsilon or v_prediction");
}

}  // namespace
}  // namespace tiller::test
