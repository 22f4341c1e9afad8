#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// The sum and the post-processing as guided_denoiser does them, from answers that are given.
Tensor combined(std::vector<ChosenGuidance>& chosen, const Tensor& conditional,
                const std::map<std::string, Tensor>& answers) {
  const GuidanceStep step;
  Tensor guided = conditional;
  for (auto& c : chosen) {
    std::vector<Tensor> told = {conditional};
    for (size_t i = c.guidance->requests(step, {}).size(); i > 0; --i)
      told.push_back(answers.count(c.entry->name) ? answers.at(c.entry->name)
                                                  : answers.at("perturbed"));
    const Tensor delta = c.guidance->delta(step, told);
    if (delta.defined()) guided = guided + delta;
  }
  for (auto& c : chosen) guided = c.guidance->finish(step, guided, conditional);
  return guided;
}

TEST(Combination, EqualsDiffusers) {
  const Model model = toy_model();
  const Tensor i = at::arange(512, at::kDouble).reshape({2, 4, 8, 8});
  const Tensor conditional = (0.7 * i + 0.1).sin();
  const std::map<std::string, Tensor> answers = {
      {"cfg", (0.6 * (0.53 * i + 1.3).sin() + 0.4 * (0.11 * i).cos()).to(at::kFloat)},
      {"perturbed", (0.9 * (0.7 * i + 0.25).sin() + 0.05 * (1.9 * i).cos()).to(at::kFloat)}};
  const Json cases = fixture("guidance.json")["combinations"];
  EXPECT_GE(cases.size(), 10u);
  for (const Json& c : cases) {
    const std::string text = c["guidance"];
    auto chosen = choose_guidances({text}, model);
    const Tensor got = combined(chosen, conditional.to(at::kFloat), answers);
    const Tensor sampled = got.flatten().slice(0, 0, got.numel(), 23);
    EXPECT_LT(relative_error(sampled, tensor_from(c["prediction"])), 1e-6) << text;
  }
}

TEST(Rescale, GivesEachImageItsContrastBack) {
  auto chosen = choose_guidances({"rescale:phi=1"}, toy_model());
  const Tensor conditional = normal({3, 4, 5, 5}, 1);
  const Tensor scales = at::tensor({2.0, 7.0, 0.1}).reshape({3, 1, 1, 1}).to(at::kFloat);
  const Tensor got = chosen[0].guidance->finish({}, conditional * scales, conditional);
  EXPECT_LT(relative_error(got, conditional), 1e-6);
}

TEST(Rescale, LeavesAnEmptyPredictionFinite) {
  auto chosen = choose_guidances({"rescale"}, toy_model());
  const Tensor zeros = at::zeros({1, 4, 2, 2});
  EXPECT_EQ(largest(chosen[0].guidance->finish({}, zeros, normal({1, 4, 2, 2}, 1))), 0);
}

}  // namespace
}  // namespace tiller::test
