#include "models/clip_text.h"

#include <functional>

#include "io/error.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

const Json& text_reference() {
  static const Json file = fixture("clip_text.json");
  return file;
}

struct BuiltText {
  ClipText encoder;
  NamedTensors tensors;
};

BuiltText build_text(const Json& config, at::Device device = at::kCPU) {
  Weights weights(0, device);
  ClipText encoder(config, weights);
  BuiltText built{std::move(encoder), weights.finish()};
  if (!device.is_meta()) fill_by_formula(built.tensors);
  return built;
}

Tensor ids_of(const Json& test) {
  std::vector<Tensor> rows;
  for (const auto& row : test.at("ids"))
    rows.push_back(at::tensor(row.get<std::vector<int64_t>>(), at::kLong));
  return at::stack(rows);
}

void expect_equal_states(const Tensor& got, const Json& expected) {
  EXPECT_LT(relative_error(got, tensor_from(expected)), 1e-5);
}

void expect_states(const ClipText& encoder, const Json& test, const Tensor& extra = {}) {
  at::NoGradGuard guard;
  const Tensor ids = ids_of(test);
  const TextStates whole = encoder.encode(ids, 0, extra), skipped = encoder.encode(ids, 1, extra);
  expect_equal_states(whole.last, test.at("last"));
  expect_equal_states(whole.context, test.at("last"));
  expect_equal_states(whole.raw, test.at("raw"));
  expect_equal_states(whole.pooled, test.at("pooled"));
  expect_equal_states(skipped.last, test.at("last"));
  expect_equal_states(skipped.context, test.at("context_skip1"));
  expect_equal_states(skipped.raw, test.at("raw_skip1"));
  expect_equal_states(skipped.pooled, test.at("pooled"));
}

TEST(ClipText, EqualsTransformers) {
  ASSERT_EQ(text_reference().at("cases").size(), 4u);
  for (const Json& test : text_reference().at("cases")) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    expect_states(build_text(test.at("config")).encoder, test);
  }
}

TEST(ClipText, EqualsTransformersWithAddedTokens) {
  const Json& test = text_reference().at("extra");
  const int64_t width = test.at("config").at("hidden_size");
  const Tensor extra = formula_tensor("extra", {test.at("extra"), width});
  expect_states(build_text(test.at("config")).encoder, test, extra);
}

TEST(ClipText, AddedTokensDontMoveTheEndTokenOfOldConfigs) {
  Json test = text_reference().at("extra");
  const Tensor ids = ids_of(test).where(ids_of(test).ne(57), 1);  // 58 is the highest that is known
  const Tensor extra = formula_tensor("extra", {3, 16});
  const Tensor expected = build_text(test.at("config")).encoder.encode(ids, 0, extra).pooled;
  test["config"]["eos_token_id"] = 2;
  const Tensor got = build_text(test.at("config")).encoder.encode(ids, 0, extra).pooled;
  EXPECT_TRUE(got.equal(expected));
}

TEST(ClipText, FullSizesHaveTransformersTensors) {
  ASSERT_EQ(text_reference().at("full_size").size(), 3u);
  for (const auto& [name, expected] : text_reference().at("full_size").items()) {
    const BuiltText built = build_text(expected.at("config"), at::kMeta);
    EXPECT_EQ(inventory_of(built.tensors), expected.at("inventory")) << name;
  }
}

/// The tensors of the bigG case as a checkpoint has them, after `change`.
ClipText load(const std::function<void(NamedTensors&)>& change) {
  const Json& test = text_reference().at("cases").at(2);
  TensorFile file{build_text(test.at("config")).tensors};
  change(file.tensors);
  Json config = test.at("config");
  config.erase("architectures");  // the tensors tell that there is a projection
  Weights weights(std::move(file), "model.safetensors");
  ClipText encoder(config, weights);
  weights.finish();
  return encoder;
}

TEST(ClipText, ReadsKeysWithAndWithoutPrefixAndOldBuffers) {
  const Json& test = text_reference().at("cases").at(2);
  const Tensor position_ids = at::arange(12).unsqueeze(0);
  expect_states(load([&](NamedTensors& tensors) {
                  tensors.emplace_back("text_model.embeddings.position_ids", position_ids);
                }),
                test);
  expect_states(load([&](NamedTensors& tensors) {
                  const std::string prefix = "text_model.";
                  for (auto& [name, tensor] : tensors)
                    if (name.starts_with(prefix)) name = name.substr(prefix.size());
                  tensors.emplace_back("embeddings.position_ids", position_ids);
                }),
                test);
}

std::string text_message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(ClipText, NamesTensorsThatDontFit) {
  const std::string message = text_message([] {
    load([](NamedTensors& tensors) {
      tensors.emplace_back("text_model.encoder.layers.3.mlp.fc1.bias", at::zeros(40));
      for (auto& [name, tensor] : tensors) {
        if (name.ends_with("1.self_attn.q_proj.bias")) name += "s";
        if (name.ends_with("position_embedding.weight")) tensor = at::zeros({5, 20});
      }
    });
  });
  EXPECT_EQ(message,
            "model.safetensors: got weights that don't fit the config: wrong shapes: "
            "text_model.embeddings.position_embedding.weight [5, 20] instead of [12, 20]; "
            "missing tensors: text_model.encoder.layers.1.self_attn.q_proj.bias; surplus tensors: "
            "text_model.encoder.layers.1.self_attn.q_proj.biass and "
            "text_model.encoder.layers.3.mlp.fc1.bias.");
}

TEST(ClipText, InputsThatDontFitAreErrors) {
  const ClipText encoder = build_text(text_reference().at("cases").at(0).at("config")).encoder;
  const auto message = [&](const Tensor& ids, int64_t skip = 0, const Tensor& extra = {}) {
    return text_message([&] { encoder.encode(ids, skip, extra); });
  };
  const Tensor ids = at::arange(4).unsqueeze(0);
  EXPECT_EQ(message(ids, 3), "--clip-skip: got 3, expected 0 to 2.");
  EXPECT_EQ(message(at::zeros({1, 13}, at::kLong)),
            "text encoder: got 13 tokens, expected at most 12.");
  EXPECT_EQ(message(ids + 60),
            "text encoder: got the token id 60, expected 0 to 59. Does the tokenizer belong to "
            "another model?");
  EXPECT_EQ(message(ids + 59, 0, at::zeros({3, 16})), "none");
  EXPECT_EQ(message(ids, 0, at::zeros({3, 24})),
            "text encoder: got a textual inversion of width 24, expected 16: it was made for a "
            "model of another family.");
  EXPECT_EQ(text_message([] {
              build_text({{"hidden_act", "relu"}});
            }),
            "config.json: hidden_act: got \"relu\", expected quick_gelu and gelu (nothing else is "
            "supported).");
}

TEST(ClipText, LearnsByAutograd) {
  const BuiltText built = build_text(text_reference().at("cases").at(2).at("config"));
  for (const auto& [name, tensor] : built.tensors) tensor.requires_grad_(true);
  const TextStates states = built.encoder.encode(ids_of(text_reference().at("cases").at(2)));
  (states.context.sum() + states.pooled.square().sum()).backward();
  for (const auto& [name, tensor] : built.tensors) EXPECT_TRUE(tensor.grad().defined()) << name;
}

}  // namespace
}  // namespace tiller::test
