#include "models/lora.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/error.h"
#include "io/safetensors.h"
#include "tests/models/ldm_checkpoint.h"

namespace tiller {
namespace {

using test::formula_weight;
using test::Json;

const Json& cases() {
  static const Json file = test::fixture("lora.json");
  return file;
}

Json style(const std::string& name) {
  for (const Json& test : cases().at("cases"))
    if (test.at("style") == name) return test;
  throw std::runtime_error("no style " + name);
}

NamedTensors unet(at::ScalarType dtype = at::kFloat) {
  NamedTensors parameters;
  for (const Json& entry : cases().at("unet"))
    parameters.emplace_back(
        entry[0], formula_weight(entry[0], entry[1].get<std::vector<int64_t>>()).to(dtype));
  return parameters;
}

NamedTensors factors_of(const Json& test) {
  NamedTensors tensors;
  for (const Json& entry : test.at("tensors"))
    tensors.emplace_back(entry[0], formula_weight(entry[0], entry[1].get<std::vector<int64_t>>()));
  const Json alphas = test.value("alphas", Json::object());
  for (const auto& [name, alpha] : alphas.items())
    tensors.emplace_back(name, at::scalar_tensor(alpha.get<double>()));
  return tensors;
}

Lora loaded(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
  const test::TemporaryFile file("lora.safetensors");
  save_safetensors(file.path, tensors, metadata);
  return load_lora(file.path);
}

Lora loaded(const std::string& name) {
  const Json test = style(name);
  return loaded(factors_of(test), test.value("metadata", std::map<std::string, std::string>()));
}

/// The sum and six values at even distances.
Tensor summary(const Tensor& tensor) {
  const Tensor flat = tensor.to(at::kDouble).flatten();
  const int64_t step = std::max<int64_t>(1, flat.numel() / 6);
  return at::cat({flat.sum().unsqueeze(0), flat.slice(0, 0, at::nullopt, step).slice(0, 0, 6)});
}

std::vector<Tensor> copies(const NamedTensors& parameters) {
  std::vector<Tensor> result;
  for (const auto& [name, tensor] : parameters) result.push_back(tensor.clone());
  return result;
}

std::string lora_message(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_message(const std::function<void()>& action, const std::string& expected) {
  const std::string message = lora_message(action);
  EXPECT_NE(message.find(expected), message.npos) << message;
}

class EveryStyle : public testing::TestWithParam<const char*> {};

TEST_P(EveryStyle, FusesAsDiffusersDoes) {
  const Json test = style(GetParam());
  const NamedTensors parameters = unet();
  const auto before = copies(parameters);
  const Lora lora = loaded(GetParam());
  merge_loras(parameters, "unet", {{&lora, test.at("weight")}});
  // Both stretch to lengths in float32, and the sums that are compared cancel.
  const bool stretches = lora.parts.at("unet").begin()->second.magnitude.defined();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, tensor] = parameters[i];
    const auto expected = test.at("changed").find(name);
    if (expected == test.at("changed").end())
      EXPECT_TRUE(tensor.equal(before[i])) << name;
    else
      EXPECT_LT(test::relative_error(summary(tensor), test::tensor_from(*expected)),
                stretches ? 1e-5 : 1e-6)
          << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Names, EveryStyle,
                         testing::Values("kohya", "kohya_original", "peft", "peft_alpha", "plain",
                                         "processor", "dora", "dora_rows", "dora_columns", "loha",
                                         "loha_flat", "lokr", "lokr_factored", "lokr_whole",
                                         "whole"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Lora, GivesTheVeryBytesBack) {
  const Lora first = loaded("kohya"), second = loaded("processor");
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const NamedTensors parameters = unet(dtype);
    const auto before = copies(parameters);
    const Originals originals = merge_loras(parameters, "unet", {{&first, 0.7}, {&second, -0.3}});
    EXPECT_EQ(originals.size(), first.parts.at("unet").size());
    remove_loras(originals);
    for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(parameters[i].second.equal(before[i]));
  }
}

TEST(Lora, AddsUpAndRoundsOnce) {
  const Lora first = loaded("kohya"), second = loaded("processor");
  const NamedTensors exact = unet(at::kHalf), half = unet(at::kHalf);
  NamedTensors wide;
  for (const auto& [name, tensor] : exact) wide.emplace_back(name, tensor.to(at::kFloat));
  merge_loras(half, "unet", {{&first, 0.7}, {&second, 0.4}});
  merge_loras(wide, "unet", {{&first, 0.7}, {&second, 0.4}});
  for (size_t i = 0; i < half.size(); ++i)
    EXPECT_TRUE(half[i].second.equal(wide[i].second.to(at::kHalf))) << half[i].first;
}

TEST(Lora, WithACoreActsAsThreeConvolutions) {
  const std::string module = "down_blocks.0.resnets.0.conv1";
  const NamedTensors parameters = {{module + ".weight", at::randn({6, 4, 3, 3})}};
  const Tensor down = at::randn({2, 4, 1, 1}), mid = at::randn({2, 2, 3, 3}),
               up = at::randn({6, 2, 1, 1}), x = at::randn({1, 4, 5, 5});
  const std::string name = "lora_unet_down_blocks_0_resnets_0_conv1";
  const Lora lora = loaded({{name + ".lora_down.weight", down},
                            {name + ".lora_mid.weight", mid},
                            {name + ".lora_up.weight", up},
                            {name + ".alpha", at::scalar_tensor(1.0)}});
  const Tensor weight = parameters[0].second, plain = at::conv2d(x, weight, {}, 1, 1);
  merge_loras(parameters, "unet", {{&lora, 1.0}});
  const Tensor branch = at::conv2d(at::conv2d(at::conv2d(x, down), mid, {}, 1, 1), up);
  EXPECT_LT(test::relative_error(at::conv2d(x, weight, {}, 1, 1), plain + 0.5 * branch), 1e-5);
}

TEST(Lora, KnowsTextEncodersByAllTheirNames) {
  const std::string layer = "encoder.layers.0.self_attn.q_proj";
  const Tensor down = at::randn({2, 8}), up = at::randn({8, 2}), weight = at::randn({8, 8});
  const auto merged = [&](const std::string& parameter, const std::string& a, const std::string& b,
                          const std::string& part) {
    const NamedTensors parameters = {{parameter, weight.clone()}};
    const Lora lora = loaded({{a, down}, {b, up}});
    merge_loras(parameters, part, {{&lora, 1.0}});
    return parameters[0].second;
  };
  const Tensor expected = weight + at::mm(up, down);
  for (const std::string outer : {"text_model.", ""}) {
    const std::string parameter = outer + layer + ".weight";
    for (const auto& [prefix, part] :
         {std::pair<std::string, std::string>("lora_te_", "text_encoder"),
          {"lora_te1_", "text_encoder"},
          {"lora_te2_", "text_encoder_2"}}) {
      const std::string kohya = prefix + "text_model_encoder_layers_0_self_attn_q_proj.lora_";
      EXPECT_TRUE(merged(parameter, kohya + "down.weight", kohya + "up.weight", part)
                      .allclose(expected, 1e-5, 1e-5));
    }
    const std::string bare = layer + ".lora_";  // PEFT's with transformers 5
    EXPECT_TRUE(merged(parameter, bare + "A.weight", bare + "B.weight", "text_encoder")
                    .allclose(expected, 1e-5, 1e-5));
    const std::string old = "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.",
                      peft = "text_encoder_2.text_model." + layer + ".lora_";
    EXPECT_TRUE(merged(parameter, old + "down.weight", old + "up.weight", "text_encoder")
                    .allclose(expected, 1e-5, 1e-5));
    EXPECT_TRUE(merged(parameter, peft + "A.weight", peft + "B.weight", "text_encoder_2")
                    .allclose(expected, 1e-5, 1e-5));
  }
}

/// What PEFT 0.21's get_pattern_key does with names: the first in order counts.
TEST(Lora, TheFirstPatternThatFitsSaysItsAlpha) {
  const std::string module = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q";
  const auto scale = [&](const std::string& patterns) {
    const Lora lora =
        loaded({{"unet." + module + ".lora_A.weight", at::ones({2, 3})},
                {"unet." + module + ".lora_B.weight", at::ones({3, 2})}},
               {{"lora_adapter_metadata",
                 R"({"unet.lora_alpha": 8, "unet.alpha_pattern": {)" + patterns + "}}"}});
    return lora.parts.at("unet").begin()->second.scale;
  };
  EXPECT_EQ(scale(R"("to_v": 2)"), 4);
  EXPECT_EQ(scale(R"("attn2.to_q": 2, "to_q": 6)"), 1);
  EXPECT_EQ(scale(R"("to_q": 6, "attn2.to_q": 2)"), 3);
  EXPECT_EQ(scale(R"("o_q": 6, "^attn2.to_q": 2, "^)" + module + R"(": 10)"), 5);
  expect_message([&] { scale(R"(".*attn1.*": 6)"); }, "got the alpha_pattern '.*attn1.*'");
}

/// PEFT's LoKr counts the rank of its config where no matrix is factored; kohya's alpha is ignored.
TEST(Lora, WithNothingFactoredHasTheConfigsScale) {
  const std::string module = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.lokr_w";
  const auto scale = [&](NamedTensors tensors, const std::string& config) {
    tensors.insert(tensors.end(), {{"unet." + module + "1", at::ones({2, 2})},
                                   {"unet." + module + "2", at::ones({4, 4})}});
    const Lora lora = loaded(tensors, {{"lora_adapter_metadata", config}});
    return lora.parts.at("unet").begin()->second.scale;
  };
  EXPECT_EQ(scale({}, R"({"unet.alpha": 8, "unet.r": 4})"), 2);
  EXPECT_EQ(scale({}, "{}"), 1);
  const std::string alpha = "unet." + module.substr(0, module.rfind('.')) + ".alpha";
  EXPECT_EQ(scale({{alpha, at::scalar_tensor(7.0)}}, "{}"), 1);
}

TEST(Lora, BeyondAllNumbersIsRefused) {
  const std::string name = "unet.mid_block.resnets.0.conv1.lora_";
  const Tensor up = at::full({3, 2}, std::numeric_limits<float>::infinity());
  expect_message(
      [&] {
        loaded({{name + "A.weight", at::ones({2, 3})}, {name + "B.weight", up}});
      },
      "factors that aren't finite");
}

/// A LoRA of one cross-attention that reads text of that width.
Lora lora_of_width(int64_t width) {
  const std::string name =
      "lora_unet_down_blocks_1_attentions_1_transformer_blocks_0_attn2_to_k.lora_";
  return loaded(
      {{name + "down.weight", at::randn({2, width})}, {name + "up.weight", at::randn({16, 2})}});
}

NamedTensors unet_of_width(int64_t width) {
  return {{"down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k.weight",
           at::randn({16, width})}};
}

TEST(Lora, OfAnotherFamilyIsCalledSo) {
  const Lora sd1 = lora_of_width(768), sdxl = lora_of_width(2048);
  EXPECT_EQ(lora_family(sd1), "SD1.5");
  EXPECT_EQ(lora_family(sdxl), "SDXL");
  expect_message(
      [&] {
        merge_loras(unet_of_width(2048), "unet", {{&sd1, 1.0}});
      },
      "this LoRA is SD1.5, the model is SDXL.");
  expect_message(
      [&] {
        merge_loras(unet_of_width(1024), "unet", {{&sdxl, 1.0}});
      },
      "this LoRA is SDXL, the model is SD2.");
}

TEST(Lora, ThatFitsNowhereChangesNothing) {
  const NamedTensors parameters = unet();
  const auto before = copies(parameters);
  const Lora good = loaded("kohya");
  const Lora unknown = loaded({{"unet.mid_block.nothing.lora_A.weight", at::randn({2, 4})},
                               {"unet.mid_block.nothing.lora_B.weight", at::randn({4, 2})}});
  const Lora wide = loaded({{"unet.conv_in.lora_A.weight", at::randn({2, 9, 3, 3})},
                            {"unet.conv_in.lora_B.weight", at::randn({8, 2, 1, 1})}});
  expect_message(
      [&] {
        merge_loras(parameters, "unet", {{&good, 1.0}, {&unknown, 1.0}});
      },
      "for unknown modules: mid_block_nothing");
  expect_message(
      [&] {
        merge_loras(parameters, "unet", {{&good, 1.0}, {&wide, 1.0}});
      },
      "of other shapes than the model's: conv_in");
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(parameters[i].second.equal(before[i]));
}

TEST(Lora, OfAnotherKindIsRefusedByName) {
  const Tensor x = at::randn({2, 4});
  const auto refuses = [&](const std::string& name, const std::string& expected) {
    expect_message([&] { loaded({{name, x}}); }, expected);
  };
  refuses("lora_unet_conv_in.oft_blocks", "OFT");
  refuses("lora_unet_conv_in.on_input", "IA3");
  refuses("lora_unet_conv_in.b1.weight", "GLoRA");
  refuses("unet.conv_in.lora_B.bias", "LoRA with biases");
  refuses("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", "Flux");
  refuses("model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.input_blocks");
  refuses("lora_unet_conv_in.lora_down.weight", "no factor up");
  expect_message(
      [&] {
        loaded({{"lora_unet_a.lora_down.weight", x}, {"lora_unet_a.lora_up.weight", x}});
      },
      "factors that don't fit each other");
}

TEST(Lora, SurvivesAnyShapes) {
  const NamedTensors parameters = unet();
  const auto before = copies(parameters);
  const std::vector<std::vector<int64_t>> shapes = {{}, {2, 0}, {2, 3, 4}, {3, 8, 3, 3}};
  for (const auto& down : shapes)
    for (const auto& up : shapes) {
      NamedTensors tensors = {{"lora_unet_conv_in.lora_down.weight", at::ones(down)},
                              {"lora_unet_conv_in.lora_up.weight", at::ones(up)}};
      for (const auto& mid : shapes) {
        EXPECT_NE(lora_message([&] {
                    const Lora lora = loaded(tensors);
                    merge_loras(parameters, "unet", {{&lora, 1.0}});
                  }),
                  "");
        tensors.resize(2);
        tensors.emplace_back("lora_unet_conv_in.lora_mid.weight", at::ones(mid));
      }
    }
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(parameters[i].second.equal(before[i]));
  expect_message(
      [] {
        loaded({{"lora_unet_conv_in.alpha", at::full({}, NAN)}});
      },
      "no finite number");
}

TEST(Lora, OfOtherKindsSurvivesAnyShapes) {
  const NamedTensors parameters = unet();
  const auto before = copies(parameters);
  const std::string name = "lora_unet_conv_in.";
  const std::vector<std::vector<int64_t>> shapes = {{},     {3},       {2, 0},
                                                    {2, 3}, {2, 3, 4}, {3, 3, 3, 3}};
  const std::vector<std::vector<std::string>> kinds = {
      {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1"},
      {"lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"},
      {"lora_down.weight", "lora_up.weight", "dora_scale"},
      {"diff", "diff_b"}};
  for (const auto& kind : kinds)
    for (const auto& first : shapes)
      for (const auto& last : shapes) {
        NamedTensors tensors;
        for (const auto& factor : kind)
          tensors.emplace_back(name + factor, at::ones(tensors.size() % 2 ? first : last));
        EXPECT_NE(lora_message([&] {
                    const Lora lora = loaded(tensors);
                    merge_loras(parameters, "unet", {{&lora, 1.0}});
                  }),
                  "");
      }
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(parameters[i].second.equal(before[i]));
}

TEST(Lora, OfSeveralKindsInAModuleIsRefused) {
  const std::string name = "lora_unet_conv_in.";
  const Tensor x = at::ones({2, 2});
  expect_message(
      [&] {
        loaded({{name + "diff", x}, {name + "lora_down.weight", x}, {name + "lora_up.weight", x}});
      },
      "factors of several kinds");
  expect_message(
      [&] {
        loaded({{name + "hada_w1_a", x}, {name + "hada_w1_b", x}, {name + "hada_w2_a", x}});
      },
      "no factor hada_w2_b");
  expect_message(
      [&] {
        loaded({{name + "lokr_w1", x},
                {name + "lokr_w2_a", x},
                {name + "lokr_w2_b", at::ones({3, 2})}});
      },
      "factors that don't fit each other");
}

TEST(Lora, LengthsThatDontFitAreRefused) {
  const std::string name = "lora_unet_mid_block_attentions_0_proj_in.";
  const auto dora = [&](const Tensor& lengths) {
    return loaded({{name + "lora_down.weight", at::ones({2, 16})},
                   {name + "lora_up.weight", at::ones({16, 2})},
                   {name + "dora_scale", lengths}});
  };
  expect_message([&] { dora(at::ones({9, 1})); }, "got 9 lengths, expected 16");
  expect_message([&] { dora(at::ones({4, 4})); }, "lengths of an unknown shape");
  expect_message([&] { dora(at::full({16, 1}, NAN)); }, "no finite lengths");
  const Lora lora = dora(at::ones({1, 9}));
  const NamedTensors parameters = unet();
  expect_message(
      [&] {
        merge_loras(parameters, "unet", {{&lora, 1.0}});
      },
      "of other shapes than the model's: mid_block_attentions_0_proj_in");
}

TEST(Lora, OfWeightZeroChangesNothing) {
  const NamedTensors parameters = unet();
  const auto before = copies(parameters);
  const Lora lora = loaded("dora_rows");
  EXPECT_TRUE(merge_loras(parameters, "unet", {{&lora, 0.0}}).empty());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(parameters[i].second.equal(before[i]));
}

/// Each is of the weight without the others, as diffusers applies them unfused.
TEST(Lora, DorasAddUpInAnyOrder) {
  const Lora first = loaded("dora"), second = loaded("dora_columns");
  const NamedTensors one = unet(), other = unet();
  merge_loras(one, "unet", {{&first, 0.7}, {&second, 0.4}});
  merge_loras(other, "unet", {{&second, 0.4}, {&first, 0.7}});
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_TRUE(one[i].second.allclose(other[i].second, 1e-5, 1e-6)) << one[i].first;
}

}  // namespace
}  // namespace tiller
