#include "tests/models/formula.h"
#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class Parity : public ProgramTest {};

/// A model folder with formula weights, as tests/reference/make_adm_sampling.py has them.
void make_formula_model(const fs::path& folder, const Json& test) {
  Json config = test.at("config");
  config["num_classes"] = test.at("classes");
  Weights weights(1);
  const auto network = adm_unet(adm_config(config, "config.json"), weights);
  const NamedTensors tensors = weights.finish();
  fill_by_formula(tensors);
  write_file(folder / "config.json", config.dump());
  save_safetensors(folder / "model.safetensors", tensors);
}

TEST_F(Parity, EqualsGuidedDiffusionsDdimSampleLoop) {
  const Json test = fixture("adm_sampling.json");
  make_formula_model(folder / "model", test);
  const Result result = tiller(
      "generate --model model --class " + test.at("label").dump() + " --seed " +
      test.at("seed").dump() + " --sampler ddim --respacing " + test.at("respacing").dump() +
      " --clip-denoised --dtype float32 --device cpu --save-latents x.safetensors --output y.png");
  ASSERT_EQ(result.code, 0) << result.err;
  const Tensor expected = at::tensor(test.at("values").get<std::vector<float>>());
  const Tensor got = latents("x.safetensors").flatten().slice(0, 0, {}, test.at("every"));
  ASSERT_EQ(got.sizes(), expected.sizes());
  EXPECT_LT((got - expected).abs().max().item<double>(), 1e-4);
  EXPECT_GT(expected.std().item<double>(), 0.1);
}

}  // namespace
}  // namespace tiller::test
