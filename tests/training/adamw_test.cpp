#include "training/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/file.h"

namespace tiller::test {
namespace {

using Json = nlohmann::json;

Tensor floats(const Json& numbers) {
  return at::tensor(numbers.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
}

void expect_close(const Tensor& got, const Json& expected) {
  EXPECT_TRUE(at::allclose(got.detach().flatten(), floats(expected), 1e-5, 1e-6))
      << got.detach().flatten() << expected;
}

/// make_adamw.py's.
void set_gradients(std::vector<Tensor>& weights, size_t step) {
  for (auto& weight : weights)
    weight.mutable_grad() =
        (3 * (weight.detach() * double(step + 1)).sin() + 0.1) * (step == 3 ? 0.01 : 1);
}

TEST(AdamW, EqualsTorchWithClippedGradients) {
  const Json fixture = Json::parse(read_file(TILLER_FIXTURES "/adamw.json"));
  const Json& o = fixture.at("options");
  const AdamWOptions options{o.at("lr"), o.at("beta1"), o.at("beta2"), o.at("eps"),
                             o.at("weight_decay")};
  const at::TensorOptions real(at::kFloat);
  std::vector<Tensor> weights = {at::linspace(-1, 1, 6, real),
                                 at::linspace(0.5, 2, 4, real).reshape({2, 2})};
  for (auto& weight : weights) weight.requires_grad_(true);
  AdamMoments moments = zero_moments(weights);
  const Json& steps = fixture.at("steps");
  for (size_t step = 0; step < steps.size(); ++step) {
    SCOPED_TRACE(step);
    set_gradients(weights, step);
    const double norm = clip_gradients(weights, fixture.at("limit"));
    EXPECT_NEAR(norm, steps[step].at("norm").get<double>(), 1e-5 * norm);
    adamw_step(weights, moments, int64_t(step) + 1, options);
    for (size_t i = 0; i < weights.size(); ++i)
      expect_close(weights[i], steps[step].at("weights")[i]);
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    expect_close(moments.first[i], fixture.at("first")[i]);
    expect_close(moments.second[i], fixture.at("second")[i]);
  }
}

TEST(AdamW, NoLimitMeasuresOnly) {
  Tensor weight = at::zeros({2}, at::kFloat).requires_grad_(true);
  weight.mutable_grad() = at::tensor({30.0f, 40.0f});
  EXPECT_FLOAT_EQ(clip_gradients({weight}, 0), 50);
  EXPECT_TRUE(weight.grad().equal(at::tensor({30.0f, 40.0f})));
}

}  // namespace
}  // namespace tiller::test
