/// What samplers can be asked for beside their own options, and flows, through the program.
#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class Sampling : public ProgramTest {};

TEST_F(Sampling, ExposureBiasIsCuredAndKeptInTheRecipe) {
  generate("--sampler ddim --output plain.png");
  for (const std::string options : {"epsilon_scaling=1.05", "epsilon_scaling_slope=0.02",
                                    "time_shift=200,time_shift_cutoff=1"}) {
    generate("--sampler ddim:" + options + " --output cured.png");
    EXPECT_NE(bytes("plain.png"), bytes("cured.png")) << options;
    ASSERT_EQ(tiller("generate --quiet --from cured.png --output again.png").code, 0);
    EXPECT_EQ(bytes("cured.png"), bytes("again.png")) << options;
  }
  const Result result =
      tiller("generate --model model --sampler ddim:time_shift=40 --output x.png");
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("time_shift_cutoff: got none, expected"), std::string::npos)
      << result.err;
}

TEST_F(Sampling, FlowsOfBothKinds) {
  for (const std::string type : {"flow", "rectified_flow"}) {
    Json config = tiny_config();
    config.update({{"prediction_type", type}, {"learn_sigma", false}, {"flow_shift", 2}});
    make_model(type, config);
    for (const std::string sampler : {"euler", "heun", "ddim", "dpm++2m", "ge"}) {
      const Result result =
          tiller("generate --quiet --json --steps 4 --model " + type +
                 " --guidance cfg:scale=2 --sampler " + sampler + " --output a.png");
      ASSERT_EQ(result.code, 0) << sampler << " " << result.err;
      EXPECT_GT(Json::parse(result.out).at("straightness").get<double>(), 0) << sampler;
    }
    const Result scaled =
        tiller("generate --model " + type + " --sampler ddim:epsilon_scaling=1.01 --output b.png");
    EXPECT_EQ(scaled.code, 2) << scaled.err;
    EXPECT_NE(tiller("info " + type).out.find(type), std::string::npos);
  }
  const Result other = generate("--json --sampler euler --output a.png");
  EXPECT_FALSE(Json::parse(other.out).contains("straightness"));
}

}  // namespace
}  // namespace tiller::test
