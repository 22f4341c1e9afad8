#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "metrics/cifar_resnet.h"
#include "metrics/efficientnet_lite.h"
#include "metrics/feature_network.h"
#include "metrics/inception.h"
#include "tests/models/formula.h"

namespace tiller {
namespace {

using test::fixture;
using test::formula_tensor;
using test::Json;
using test::tensor_from;

const Json& expected() {
  static const Json json = fixture("features.json");
  return json;
}

/// As tests/reference/make_features.py fills its networks.
TensorFile random_weights(const Json& shapes, const std::string& prefix) {
  TensorFile file;
  for (const auto& [name, dims] : shapes.items()) {
    const auto shape = dims.get<std::vector<int64_t>>();
    if (name.ends_with("num_batches_tracked")) {
      file.tensors.emplace_back(name, at::zeros({}, at::kLong));
      continue;
    }
    Tensor value = test::formula_weight(prefix + name, shape);
    if (name.ends_with("running_var")) value = 1 + 0.125 * formula_tensor(prefix + name, shape);
    if (shape.size() == 4) value = value * std::sqrt(2.0);
    file.tensors.emplace_back(name, value);
  }
  return file;
}

Tensor images(const std::string& name, int64_t count, int64_t height, int64_t width) {
  const Tensor blocks = formula_tensor(name, {count, 3, (height + 3) / 4, (width + 3) / 4});
  const Tensor whole = blocks.repeat_interleave(4, 2).repeat_interleave(4, 3);
  return ((whole.narrow(2, 0, height).narrow(3, 0, width) + 1) * 128).clamp(0, 255).to(at::kByte);
}

/// To 1e-4 of the values' size.
void expect_numbers(const Tensor& values, const Json& want, const std::string& what) {
  const Tensor flat = values.flatten(1).to(at::kDouble);
  ASSERT_EQ(flat.sizes(), want["shape"].get<std::vector<int64_t>>()) << what;
  const auto close = [&](const Tensor& a, const char* key) {
    const Tensor b = tensor_from(want[key]).view_as(a);
    const double scale = b.abs().max().item<double>();
    EXPECT_LT((a - b).abs().max().item<double>(), 1e-4 * scale) << what << " " << key;
  };
  close(flat.narrow(1, 0, std::min<int64_t>(24, flat.size(1))).contiguous(), "first");
  close(flat.mean(1), "mean");
  close(flat.std(1), "std");
}

class FeaturesTest : public ::testing::Test {
 protected:
  at::NoGradGuard no_grad_;
};

Tensor inception_input(const Tensor& batch, ResizeRule rule) {
  const Tensor values = resize_values(batch, 299, 299, rule);
  return rule == ResizeRule::bilinear ? values * (2.0 / 255) - 1 : (values - 128) / 128;
}

TEST_F(FeaturesTest, InceptionEqualsItsPorts) {
  const Json& want = expected()["inception"];
  const TensorFile weights = random_weights(want["shapes"], "inception.");
  const Tensor batch = images("inception images", 2, 40, 56);
  for (const int64_t dims : {64, 192, 768}) {
    const FidInception network(weights, "weights", at::kCPU, dims);
    const auto features = network(inception_input(batch, ResizeRule::bilinear));
    expect_numbers(features.pooled, want["pytorch-fid"][std::to_string(dims)],
                   "pytorch-fid " + std::to_string(dims));
    EXPECT_FALSE(features.logits.defined());
  }
  const FidInception network(weights, "weights");
  expect_numbers(network(inception_input(batch, ResizeRule::bilinear)).pooled,
                 want["pytorch-fid"]["2048"], "pytorch-fid");
  expect_numbers(network(inception_input(batch, ResizeRule::clean)).pooled, want["clean"]["2048"],
                 "clean-fid");
  const auto tf1 = network(inception_input(batch, ResizeRule::tf1));
  expect_numbers(tf1.pooled, want["tf1"]["2048"], "torch-fidelity");
  expect_numbers(tf1.logits, want["tf1"]["logits"], "torch-fidelity's logits");
  expect_numbers(tf1.spatial, want["tf1"]["spatial"], "sFID's");
}

TEST_F(FeaturesTest, InceptionNamesWhatDoesNotFit) {
  TensorFile weights = random_weights(expected()["inception"]["shapes"], "inception.");
  std::erase_if(weights.tensors,
                [](const auto& t) { return t.first == "Mixed_7c.branch1x1.conv.weight"; });
  try {
    FidInception network(std::move(weights), "some.pth");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("some.pth"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("Mixed_7c.branch1x1.conv.weight"), std::string::npos);
  }
}

Tensor imagenet(const Tensor& values) {
  const auto of = [](double r, double g, double b) {
    return at::tensor({r, g, b}, at::kFloat).view({1, 3, 1, 1});
  };
  return (values / 255 - of(0.485, 0.456, 0.406)) / of(0.229, 0.224, 0.225);
}

TEST_F(FeaturesTest, EfficientNetLiteEqualsItsPackage) {
  const Json& want = expected()["efficientnet"];
  const EfficientNetLite network(random_weights(want["shapes"], "efficientnet."), "weights");
  const Tensor batch = images("efficientnet images", 2, 40, 56);
  const auto [pooled, logits] =
      network(imagenet(resize_values(batch, 224, 224, ResizeRule::clean)));
  expect_numbers(pooled, want["pooled"], "pooled");
  expect_numbers(logits, want["logits"], "logits");
}

TEST_F(FeaturesTest, CifarResNetEqualsThePapers) {
  const Json& want = expected()["resnet"];
  TensorFile weights = random_weights(want["shapes"], "resnet.");
  for (auto& [name, tensor] : weights.tensors) name = "module." + name;
  const CifarResNet network(std::move(weights), "weights");
  EXPECT_EQ(network.depth(), 14);
  const auto [pooled, logits] = network(imagenet(images("resnet images", 2, 32, 32)));
  expect_numbers(pooled, want["pooled"], "pooled");
  expect_numbers(logits, want["logits"], "logits");
}

TEST(ResizeTest, EqualsTheTools) {
  for (const auto& [name, want] : expected()["resizes"].items()) {
    const auto size = want["size"].get<std::vector<int64_t>>();
    const Tensor batch = images("resize " + name, 1, size[0], size[1]);
    for (const std::string rule : {"pytorch-fid", "tf1", "clean", "bicubic"}) {
      const Tensor values = resize_values(batch, 24, 19, resize_rule_from("--resize", rule));
      const Tensor reference = tensor_from(want[rule]).view({1, 3, 24, 19});
      EXPECT_LT((values.to(at::kDouble) - reference).abs().max().item<double>(), 1e-3)
          << rule << ", " << name;
    }
  }
}

TEST(FeatureNetworkTest, RefusesWhatIsUnknown) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      load_features(text);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("incepton:weights=x").find("Did you mean 'inception'?"), std::string::npos);
  EXPECT_NE(message("inception").find("weights=FILE"), std::string::npos);
  EXPECT_NE(message("inception:weigths=x").find("Did you mean 'weights'?"), std::string::npos);
  EXPECT_NE(message("script:file=x,size=4096").find("expected 0 to 2048"), std::string::npos);
  EXPECT_THROW(resize_rule_from("--resize", "tf2"), UsageError);
}

}  // namespace
}  // namespace tiller
