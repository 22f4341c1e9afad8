#include "models/recompute.h"

#include <ATen/autocast_mode.h>

#include "models/adm_unet.h"
#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

struct Learning {
  Tensor loss;
  std::vector<Tensor> gradients;
};

/// A network's loss and gradients, dropout drawn from the same seed each time.
Learning learn(const Network& network, const NamedTensors& parameters, const Tensor& x,
               const Tensor& t, const Conditioning& conditioning, const RowOptions& options,
               bool bf16) {
  for (const auto& [name, tensor] : parameters) {
    tensor.mutable_grad() = Tensor();
    tensor.set_requires_grad(true);
  }
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(5);
  at::autocast::set_autocast_enabled(at::kCPU, bf16);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  const Branch branch{&conditioning};
  Learning learning;
  {
    Rows rows({&branch, 1}, x.size(0), options);
    learning.loss = network.forward(x, t, rows).square().sum();
  }
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  learning.loss.backward();
  for (const auto& [name, tensor] : parameters) learning.gradients.push_back(tensor.grad().clone());
  return learning;
}

/// What is computed again gives the loss to the bit, and the gradients.
void expect_the_same(const Network& network, const NamedTensors& parameters, const Tensor& x,
                     const Tensor& t, const Conditioning& conditioning) {
  for (const bool bf16 : {false, true}) {
    SCOPED_TRACE(bf16 ? "bfloat16" : "float32");
    const auto run = [&](bool recompute) {
      return learn(network, parameters, x, t, conditioning,
                   {.training = true, .recompute = recompute}, bf16);
    };
    const Learning kept = run(false), again = run(true);
    EXPECT_TRUE(at::equal(kept.loss, again.loss));
    // Gradients of what several blocks read add up in another order, in bfloat16 to its precision.
    const double tolerance = bf16 ? 1.0 / 256 : 1e-5;
    double largest = 0;
    for (const Tensor& gradient : kept.gradients)
      largest = std::max(largest, gradient.abs().max().item<double>());
    for (size_t i = 0; i < parameters.size(); ++i)
      EXPECT_LE((kept.gradients[i] - again.gradients[i]).abs().max().item<double>(),
                tolerance * largest)
          << parameters[i].first;
  }
}

TEST(Recompute, AdmUNetLearnsTheSame) {
  Json config = fixture("adm.json").at("cases").at(0).at("config");
  config["dropout"] = 0.3;
  AdmConfig adm = adm_config(config, "adm.json");
  adm.num_classes = 7;
  Weights weights(0);
  const auto network = adm_unet(adm, weights);
  const NamedTensors parameters = weights.finish();
  fill_by_formula(parameters);
  const Conditioning labels{at::tensor({3, 6}, at::kLong)};
  expect_the_same(*network, parameters, formula_tensor("x", {2, 3, adm.image_size, adm.image_size}),
                  at::tensor({17.5f, 803.f}), labels);
}

TEST(Recompute, UNet2DConditionModelLearnsTheSame) {
  Json test = unet2d_case("sd15");
  test["config"]["dropout"] = 0.2;
  const BuiltUNet2D built = build_unet2d(test.at("config"));
  const UNet2DInput input = unet2d_input(test);
  expect_the_same(*built.network, built.tensors, input.x, input.t, input.conditioning);
}

/// Inside of a recomputed block nothing is kept: only inputs and outputs of blocks are.
TEST(Recompute, KeepsNoActivations) {
  int evaluations = 0;
  const BlockFunction block = [&](Rows&, const Tensor& x, const Tensor& more) {
    ++evaluations;
    return (x * more).sin();
  };
  const Conditioning nothing;
  const Branch branch{&nothing};
  const Tensor x = at::full({1, 1}, 0.5).set_requires_grad(true),
               more = at::full({1, 1}, 3.0).set_requires_grad(true);
  Rows rows({&branch, 1}, 1, {.training = true, .recompute = true});
  const Tensor y = recomputed(block, rows, x, more);
  EXPECT_EQ(evaluations, 1);
  y.backward();
  EXPECT_EQ(evaluations, 2);
  EXPECT_NEAR(x.grad().item<double>(), 3 * std::cos(1.5), 1e-6);
  EXPECT_NEAR(more.grad().item<double>(), 0.5 * std::cos(1.5), 1e-6);
  const at::NoGradGuard no_grad;
  recomputed(block, rows, x, more);
  EXPECT_EQ(evaluations, 3);
}

}  // namespace
}  // namespace tiller::test
