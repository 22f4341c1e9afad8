#include "guidance/edit_controls.h"
#include "guidance/local_blend.h"
#include "models/attention.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// Edit controls against tests/reference/make_edit_controls.py: what the authors' code computes.
const Json& reference() {
  static const Json json = fixture("edit_controls.json");
  return json;
}

using Words = std::vector<std::vector<int64_t>>;

PromptTokens prompt(const Json& words) {
  const Json& all = reference().at("prompt_to_prompt");
  const int64_t end = all.at("end");
  const size_t length = all.at("length");
  PromptTokens tokens{{all.at("begin").get<int64_t>()}, {PromptTokens::edge}};
  int64_t number = 0;
  for (const auto& word : words.get<Words>()) {
    for (const int64_t id : word) {
      tokens.ids.push_back(id);
      tokens.words.push_back(number);
    }
    ++number;
  }
  tokens.ids.push_back(end);
  tokens.words.push_back(PromptTokens::edge);
  tokens.ids.resize(length, end);
  tokens.words.resize(length, PromptTokens::padding);
  return tokens;
}

PromptPair pair_of(const Json& test) {
  PromptPair pair{prompt(test.at("source")), prompt(test.at("edit")), {}};
  for (const Json& weight : test.at("weights")) pair.weights.emplace_back(weight[0], weight[1]);
  return pair;
}

Tensor wave(double phase, at::IntArrayRef shape) {
  const Tensor i = at::arange(c10::multiply_integers(shape), at::kDouble);
  return (0.7 * i + 0.01 * i.square() + phase).sin().view(shape);
}

/// q, k and v of a source and its edit: (2, heads, tokens, channels).
std::vector<Tensor> inputs(int64_t keys) {
  std::vector<Tensor> all = {wave(0, {2, 2, 4, 3}), wave(1, {2, 2, keys, 3}),
                             wave(2, {2, 2, keys, 3})};
  for (Tensor& part : all) part = (2 * part).to(at::kFloat);
  return all;
}

std::shared_ptr<EditControl> begun(const std::string& text, const Model& model,
                                   std::vector<PromptPair> prompts, int step) {
  auto control = choose_edit_control(text, model, std::move(prompts)).control;
  control->begin_step({step, 50, {}, 2, 2, at::kCPU});
  return control;
}

TEST(EditReference, WordsAreReplacedAsTheAuthorsMapThem) {
  int compared = 0;
  for (const Json& test : reference().at("prompt_to_prompt").at("cases")) {
    if (!test.contains("replace")) continue;
    SCOPED_TRACE(test.at("name"));
    const TokenMap map = replace_map(pair_of(test));
    // Behind words of other numbers of tokens the authors take other places' attention.
    const int64_t columns = test.at("columns");
    const Tensor expected = tensor_from(test.at("replace")).view(map.matrix.sizes());
    EXPECT_LT(largest((map.matrix - expected).narrow(1, 0, columns)), 1e-7);
    EXPECT_TRUE(map.taken.equal(at::ones_like(map.taken)));
    ++compared;
  }
  EXPECT_EQ(compared, 6);
}

TEST(EditReference, TokensAreAlignedAsTheAuthorsAlignThem) {
  for (const Json& test : reference().at("prompt_to_prompt").at("cases")) {
    SCOPED_TRACE(test.at("name"));
    const TokenMap map = refine_map(pair_of(test));
    const auto partners = test.at("refine").get<std::vector<int64_t>>();
    for (size_t token = 0; token < partners.size(); ++token) {
      const Tensor column = map.matrix.select(1, int64_t(token));
      const bool known = partners[token] >= 0;
      EXPECT_EQ(map.taken[int64_t(token)].item<float>(), known ? 1 : 0) << token;
      EXPECT_EQ(column.sum().item<float>(), known ? 1 : 0) << token;
      EXPECT_EQ(known ? column[partners[token]].item<float>() : 1, 1) << token;
    }
  }
}

TEST(EditReference, PromptToPromptGivesTheAuthorsCrossAttention) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Site& site = model.network->sites().front();
  const int64_t length = reference().at("prompt_to_prompt").at("length");
  for (const Json& test : reference().at("prompt_to_prompt").at("cases"))
    for (const std::string mode : {"replace", "refine"}) {
      if (!test.contains(mode + "d")) continue;
      SCOPED_TRACE(test.at("name").get<std::string>() + " " + mode);
      const auto control = begun("p2p:mode=" + mode, model, {pair_of(test)}, 39);
      ASSERT_TRUE(control->acts_on_text(site));
      const auto x = inputs(length);
      const Tensor got = control->text_attention(site, {x[0], x[1], x[2]}, nullptr);
      EXPECT_LT(relative_error(got, tensor_from(test.at(mode + "d"))), 1e-5);
      control->begin_step({40, 50, {}, 2, 2, at::kCPU});  // the authors' first 0.8 of 50 steps
      EXPECT_FALSE(control->acts_on_text(site));
    }
}

/// Weights that add up to 1 in place of softmax, some of them negative.
class Sharpened final : public AttentionWeights {
 public:
  Tensor operator()(const Tensor& scores) const override {
    return 2 * (3 * scores).softmax(-1) - scores.softmax(-1);
  }
};

/// Words take the weights that their source's have, whatever these come from.
TEST(EditReference, PromptToPromptReplacesOtherWeightsThanSoftmaxs) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const int64_t length = reference().at("prompt_to_prompt").at("length");
  const Json test = reference().at("prompt_to_prompt").at("cases").at(0);
  const auto control = begun("p2p:mode=refine", model, {pair_of(test)}, 39);
  const auto x = inputs(length);
  const Sharpened weights;
  const Tensor map = attention_weights(x[0], x[1], &weights);
  const TokenMap tokens = refine_map(pair_of(test));
  const Tensor source = at::matmul(map.narrow(0, 0, 1), tokens.matrix);
  const Tensor mixed = tokens.taken * source + (1 - tokens.taken) * map.narrow(0, 1, 1);
  const Tensor expected = at::matmul(tokens.weights * mixed, x[2].narrow(0, 1, 1));
  const Heads heads{x[0], x[1], x[2]};
  const Site& site = model.network->sites().front();
  EXPECT_LT(relative_error(control->text_attention(site, heads, &weights), expected), 1e-5);
  EXPECT_GT(relative_error(control->text_attention(site, heads, nullptr), expected), 1e-3);
}

/// Self-attention of a source and its edit.
Tensor attended_by(const EditControl& control, const Site& site) {
  const Conditioning none;
  const std::vector<Branch> branches = {{.conditioning = &none, .control = &control}};
  Rows rows(branches, 2);
  const auto x = inputs(4);
  rows.roots(x[0]);
  return rows.attention(site, x[0], x[1], x[2]);
}

TEST(EditReference, SelfAttentionReadsWhatTheAuthorsReads) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Site& last = model.network->sites().back();
  const Json& expected = reference().at("self_attention");
  // The authors' first and last steps of 50.
  const std::vector<std::tuple<std::string, int, int>> cases = {
      {"p2p", 19, 20}, {"masactrl", 4, 3}, {"pnp", 24, 25}};
  for (const auto& [name, acts, rests] : cases) {
    SCOPED_TRACE(name);
    const PromptPair same{prompt({{1}}), prompt({{1}}), {}};
    const std::string text = name == "p2p" ? name : name + ":layers=all";
    const Tensor got = attended_by(*begun(text, model, {same}, acts), last);
    EXPECT_LT(relative_error(got[0], tensor_from(expected.at("source"))), 1e-5);
    EXPECT_LT(relative_error(got[1], tensor_from(expected.at(name))), 1e-5);
    const Tensor own = attended_by(*begun(text, model, {same}, rests), last);
    EXPECT_GT(relative_error(own[1], tensor_from(expected.at(name))), 1e-2);
  }
}

TEST(EditReference, LocalBlendKeepsWhatTheAuthorsKeep) {
  const Tensor maps = wave(0, {2, 16, 16}).abs().pow(4000);
  const Tensor latents = wave(1, {2, 3, 16, 16});
  const Tensor region = word_region(maps[0], 0.3).logical_or(word_region(maps[1], 0.3));
  const Json& expected = reference().at("local_blend");
  EXPECT_TRUE(region.flatten().equal(tensor_from(expected.at("mask")).to(at::kBool)));
  EXPECT_LT(relative_error(blended(latents, region)[1], tensor_from(expected.at("after"))), 1e-6);
}

}  // namespace
}  // namespace tiller::test
