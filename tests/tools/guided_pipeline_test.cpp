#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class GuidedPipelines : public Pipelines {
 protected:
  /// Every run of a family in the fixture, each a whole run of the program.
  void expect_all_runs(const std::string& family) const {
    const Json guided = test::fixture("guided_pipelines.json");
    make_pipeline(family);
    for (const Json& run : guided.at(family)) {
      const std::string guidance = run.at("guidance");
      SCOPED_TRACE(guidance);
      const Tensor got =
          latents_of(command(family, "--sampler " + run.at("sampler").get<std::string>() +
                                         " --guidance '" + guidance + "'"));
      expect_values(got.flatten().slice(0, 0, {}, guided.at("every")), run);
    }
  }

  static void expect_values(const Tensor& got, const Json& run) {
    const Tensor expected = at::tensor(run.at("values").get<std::vector<float>>());
    ASSERT_EQ(got.sizes(), expected.sizes());
    const double error = (got - expected).abs().max().item<double>();
    EXPECT_LT(error / run.at("largest").get<double>(), 1e-4);
  }
};

TEST_F(GuidedPipelines, Sd1EqualsDiffusersAndTheFormulas) { expect_all_runs("sd1"); }
TEST_F(GuidedPipelines, Sd2EqualsDiffusersAndTheFormulas) { expect_all_runs("sd2"); }
TEST_F(GuidedPipelines, SdxlEqualsDiffusersAndTheFormulas) { expect_all_runs("sdxl"); }

}  // namespace
}  // namespace tiller::test
