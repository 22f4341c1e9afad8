#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

/// Acts at chosen sites, by order; a different rule for each kind.
struct ToyUNet : Perturbation {
  ToyUNet(Kind kind, std::vector<int> orders) : kind_(kind), orders_(std::move(orders)) {}
  Kind kind() const override { return kind_; }
  bool acts_at(const Site& site) const override {
    return std::count(orders_.begin(), orders_.end(), site.order) > 0;
  }
  Tensor permutation(const Site& site) const override {
    const Grid grid = token_grid(site, 7, 9);
    const int64_t n = grid.height * grid.width;
    return formula_tensor(site.path, {2, n}).argsort(int64_t{1});
  }
  Tensor tokens(const Site&, const Tensor& x) const override { return 0.5 * x; }
  Tensor attention(const Site&, const Tensor&, const Tensor&, const Tensor& v) const override {
    return v;
  }
  Kind kind_;
  std::vector<int> orders_;
};

using Kind = Perturbation::Kind;

/// Prompt and negative prompt, and the prompt with every kind of perturbation.
struct Branches {
  Conditioning prompt, negative, same_pooled;
  ToyUNet shuffled{Kind::permutation, {1, 2, 4, 8}}, halved{Kind::tokens, {3}},
      identity{Kind::attention, {5, 6}};
  std::vector<Branch> all;

  explicit Branches(const UNet2DInput& input) : prompt(input.conditioning), negative(prompt) {
    negative.context = negative.context.roll(1, 2);
    negative.pooled = negative.pooled.roll(1, 1);
    same_pooled = prompt;
    same_pooled.context = negative.context;
    all = {{&prompt, nullptr},        {&negative, nullptr}, {&prompt, &identity},
           {&prompt, &shuffled},      {&prompt, &halved},   {&same_pooled, nullptr},
           {&same_pooled, &shuffled}, {&prompt, nullptr}};
  }
};

Json odd_sized_case() {
  Json test = unet2d_case("sdxl_odd_size");
  test["timesteps"] = {801.0, 33.0};
  return test;
}

/// Odd sizes, two images at different timesteps.
TEST(UNet2DRows, SharedBranchesEqualSeparateEvaluations) {
  at::NoGradGuard guard;
  const Json test = odd_sized_case();
  const auto unet = build_unet2d(test.at("config"));
  const UNet2DInput input = unet2d_input(test);
  const Branches branches(input);
  const Answers shared = evaluate(*unet.network, input.x, input.t, branches.all);
  const Answers unshared = evaluate(*unet.network, input.x, input.t, branches.all, false);
  for (size_t i = 0; i < branches.all.size(); ++i) {
    SCOPED_TRACE(i);
    const Answers alone = evaluate(*unet.network, input.x, input.t, {&branches.all[i], 1}, false);
    EXPECT_LT(relative_error(shared.outputs[i], alone.outputs[0]), 1e-5);
    EXPECT_LT(relative_error(unshared.outputs[i], alone.outputs[0]), 1e-5);
  }
  const Tensor& plain = shared.outputs[0];
  for (size_t i = 1; i + 1 < branches.all.size(); ++i)
    EXPECT_GT(relative_error(shared.outputs[i], plain), 1e-3) << i;
  EXPECT_LT(shared.flops.spent, 0.9 * unshared.flops.spent);
}

/// A branch perturbed in the middle shares the way down: the design's 32% of SDXL's operations.
TEST(UNet2DRows, AMidPerturbationSharesAThirdOfSdxl) {
  at::NoGradGuard guard;
  const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  const auto unet =
      build_unet2d(fixture("unet2d.json").at("full_size").at("sdxl").at("config"), at::kMeta);
  const Conditioning prompt{
      {}, at::empty({1, 77, 2048}, meta), at::empty({1, 1280}, meta), at::empty({1, 6}, meta)};
  const ToyUNet identity(Kind::attention, select_sites("mid", unet.network->sites()));
  const std::vector<Branch> branches = {{&prompt, nullptr}, {&prompt, &identity}};
  const Answers answers =
      evaluate(*unet.network, at::empty({1, 4, 128, 128}, meta), at::empty({1}, meta), branches);
  const double alone = answers.flops.unshared / 2;
  EXPECT_NEAR((answers.flops.unshared - answers.flops.spent) / alone, 0.32, 0.01);
}

TEST(UNet2DRows, GradientsReachInputsAndWeights) {
  const Json test = odd_sized_case();
  auto unet = build_unet2d(test.at("config"));
  UNet2DInput input = unet2d_input(test);
  input.x.requires_grad_();
  input.conditioning.context.requires_grad_();
  for (auto& [name, tensor] : unet.tensors) tensor.requires_grad_();
  const Branches branches(input);
  const Answers answers = evaluate(*unet.network, input.x, input.t, branches.all);
  at::cat(answers.outputs).square().mean().backward();
  EXPECT_GT(input.x.grad().abs().max().item<double>(), 0);
  EXPECT_GT(input.conditioning.context.grad().abs().max().item<double>(), 0);
  for (const auto& [name, tensor] : unet.tensors) EXPECT_TRUE(tensor.grad().defined()) << name;
}

}  // namespace
}  // namespace tiller::test
