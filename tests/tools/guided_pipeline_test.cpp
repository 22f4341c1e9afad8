#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// Whole guided runs, against tests/reference/make_guided_pipelines.py and
/// make_altered_pipelines.py.
class GuidedPipelines : public Pipelines {
 protected:
  void expect_all_runs(const std::string& family,
                       const std::string& file = "guided_pipelines.json") const {
    const Json reference = test::fixture(file);
    make_pipeline(family);
    make_picture_and_mask();
    for (const Json& run : reference.at(family)) {
      const std::string flags = flags_of(run);
      SCOPED_TRACE(flags);
      const Tensor got = latents_of(command(family, flags)).flatten();
      expect_values(got.slice(0, 0, {}, reference.at("every")), run);
    }
  }

  static std::string flags_of(const Json& run) {
    const auto text = [&](const char* key) { return run.at(key).get<std::string>(); };
    return "--sampler " + text("sampler") + " --guidance '" + text("guidance") + "' " +
           text("flags");
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

const std::string altered_runs = "altered_pipelines.json";
TEST_F(GuidedPipelines, Sd1AlteredEqualsDiffusers) { expect_all_runs("sd1", altered_runs); }
TEST_F(GuidedPipelines, Sd2AlteredEqualsDiffusers) { expect_all_runs("sd2", altered_runs); }
TEST_F(GuidedPipelines, SdxlAlteredEqualsDiffusers) { expect_all_runs("sdxl", altered_runs); }

}  // namespace
}  // namespace tiller::test
