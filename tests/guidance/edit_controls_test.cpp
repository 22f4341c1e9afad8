#include "guidance/edit_controls.h"

#include "models/unet2d_blocks.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// "a cat" and "the fox" in contexts of 5 tokens.
std::vector<PromptPair> prompts(size_t pairs = 1) {
  const PromptTokens source{{100, 1, 2, 101, 101}, {-1, 0, 1, -1, -2}};
  PromptTokens edit = source;
  edit.ids[1] = 5;
  edit.ids[2] = 6;
  return std::vector<PromptPair>(pairs, {source, edit, {}});
}

std::shared_ptr<EditControl> control(const std::string& text, const Model& model, int step = 3,
                                     int64_t side = 8, std::vector<PromptPair> pairs = prompts()) {
  auto chosen = choose_edit_control(text, model, std::move(pairs)).control;
  chosen->begin_step({step, 10, {}, side, side, at::kCPU});
  return chosen;
}

Tensor noise(const Model& model, int64_t images = 2) {
  return normal({images, model.network->in_channels(), 8, 8}, 1);
}

using Rule = std::function<Tensor(const Site&, const Tensor&, const Tensor&, const Tensor&)>;

class Scripted final : public Perturbation {
 public:
  Scripted(Kind kind, Rule rule) : kind_(kind), rule_(std::move(rule)) {}
  Kind kind() const override { return kind_; }
  bool acts_at(const Site&) const override { return true; }
  Tensor attention(const Site& site, const Tensor& q, const Tensor& k,
                   const Tensor& v) const override {
    return rule_(site, q, k, v);
  }

 private:
  Kind kind_;
  Rule rule_;
};

Tensor softmax_of(const Tensor& q, const Tensor& k) {
  return (at::matmul(q, k.transpose(2, 3)) / std::sqrt(double(q.size(3)))).softmax(3);
}

/// A source and its edit, each with a conditioning of its own.
struct Pair {
  Tensor x, t = at::full({2}, 400.0);
  Conditioning both, source, edit;

  explicit Pair(const Model& model) : x(noise(model)) {
    if (model.classes) {
      both.label = at::tensor({0, 2}, at::kLong);
      source.label = both.label.narrow(0, 0, 1);
      edit.label = both.label.narrow(0, 1, 1);
      return;
    }
    both.context = normal({2, 5, 12}, 2);
    source.context = both.context.narrow(0, 0, 1);
    edit.context = both.context.narrow(0, 1, 1);
  }

  Tensor together(const Model& model, const EditControl* control) const {
    const Branch branch{.conditioning = &both, .control = control};
    return evaluate(*model.network, x, t, {&branch, 1}).outputs[0];
  }

  Tensor alone(const Model& model, int row, const Perturbation* rule) const {
    const Branch branch{.conditioning = row ? &edit : &source, .perturbation = rule};
    return evaluate(*model.network, x.narrow(0, row, 1), t.narrow(0, row, 1), {&branch, 1})
        .outputs[0];
  }
};

/// The edit computed alone, by a rule that sees what the source's attention read at the same site.
Tensor reference(const Model& model, const Pair& pair, Perturbation::Kind kind,
                 const std::function<Tensor(const std::vector<Tensor>& source,
                                            const std::vector<Tensor>& edit)>& formula) {
  std::map<int, std::vector<Tensor>> tape;
  const Scripted record(kind,
                        [&](const Site& site, const Tensor& q, const Tensor& k, const Tensor& v) {
                          tape[site.order] = {q, k, v};
                          return at::matmul(softmax_of(q, k), v);
                        });
  pair.alone(model, 0, &record);
  const Scripted replay(kind,
                        [&](const Site& site, const Tensor& q, const Tensor& k, const Tensor& v) {
                          return formula(tape.at(site.order), {q, k, v});
                        });
  return pair.alone(model, 1, &replay);
}

void expect_edit(
    const Model& model, const std::string& text, Perturbation::Kind kind,
    const std::function<Tensor(const std::vector<Tensor>&, const std::vector<Tensor>&)>& formula) {
  SCOPED_TRACE(model.kind + " " + text);
  const Pair pair(model);
  const auto rule = control(text, model, 4);
  const Tensor got = pair.together(model, rule.get()), plain = pair.together(model, nullptr);
  const Tensor expected = reference(model, pair, kind, formula);
  EXPECT_LT(relative_error(got[1], expected[0]), 1e-5);
  EXPECT_GT(relative_error(got[1], plain[1]), 1e-3);
  EXPECT_TRUE(got[0].equal(plain[0]));
}

TEST(EditControls, MasaCtrlReadsTheSourcesKeysAndValues) {
  const at::NoGradGuard guard;
  for (const Model& model : {adm_model(), text_model()})
    expect_edit(model, "masactrl:layers=all", Perturbation::Kind::attention,
                [](const auto& source, const auto& edit) {
                  return at::matmul(softmax_of(edit[0], source[1]), source[2]);
                });
}

TEST(EditControls, PlugAndPlayReadsTheSourcesQueriesAndKeys) {
  const at::NoGradGuard guard;
  for (const Model& model : {adm_model(), text_model()})
    expect_edit(model, "pnp:layers=all,features=0", Perturbation::Kind::attention,
                [](const auto& source, const auto& edit) {
                  return at::matmul(softmax_of(source[0], source[1]), edit[2]);
                });
}

TEST(EditControls, PromptToPromptReplacesSmallMapsOfSelfAttention) {
  const at::NoGradGuard guard;
  expect_edit(text_model(), "p2p:cross=0,self=0.5", Perturbation::Kind::attention,
              [](const auto& source, const auto& edit) {
                return at::matmul(softmax_of(source[0], source[1]), edit[2]);
              });
  const Model model = text_model();
  const Pair pair(model);
  const auto none = control("p2p:cross=0,self=0.5,tokens=15", model, 4);
  EXPECT_TRUE(pair.together(model, none.get()).equal(pair.together(model, nullptr)));
}

TEST(EditControls, PromptToPromptMapsCrossAttention) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  auto pairs = prompts();
  pairs[0].edit.ids[1] = 1;  // "a fox": only one token is new
  pairs[0].weights = {{2, 1.7}};
  for (const std::string mode : {"replace", "refine"}) {
    const Pair pair(model);
    const auto rule = control("p2p:self=0,mode=" + mode, model, 4, 8, pairs);
    const Tensor expected =
        reference(model, pair, Perturbation::Kind::text, [&](const auto& source, const auto& edit) {
          Tensor p = softmax_of(source[0], source[1]).clone();
          if (mode == "refine") p.select(3, 2).copy_(softmax_of(edit[0], edit[1]).select(3, 2));
          p.select(3, 2).mul_(1.7);
          return at::matmul(p, edit[2]);
        });
    const Tensor got = pair.together(model, rule.get()), plain = pair.together(model, nullptr);
    EXPECT_LT(relative_error(got[1], expected[0]), 1e-5) << mode;
    EXPECT_GT(relative_error(got[1], plain[1]), 1e-3) << mode;
    EXPECT_TRUE(got[0].equal(plain[0])) << mode;
  }
}

/// Takes the source's features in block 0.
class Features final : public EditControl {
 public:
  bool in_all_branches() const override { return true; }
  bool acts_on_features(int block) const override { return block == 0; }
};

/// One branch is controlled, the other isn't: their rows part where the features are.
TEST(EditControls, FeaturesAreWhatABlockAddsToItsInput) {
  const at::NoGradGuard guard;
  Weights weights(5);
  const Json config = {{"in_channels", 4},
                       {"out_channels", 4},
                       {"block_out_channels", {16}},
                       {"down_block_types", {"DownBlock2D"}},
                       {"up_block_types", {"UpBlock2D"}},
                       {"layers_per_block", 1},
                       {"norm_num_groups", 8},
                       {"attention_head_dim", 2},
                       {"cross_attention_dim", 12}};
  const UNet2DConfig read = unet2d_config(config);
  UNet2DBuilder builder(read, weights);
  builder.take_down();
  const Resnet2D block = *builder.take_up().at(0).resnet;
  const Features rule;
  const Conditioning none;
  const std::vector<Branch> branches = {{.conditioning = &none},
                                        {.conditioning = &none, .control = &rule}};
  Rows rows(branches, 2);
  const Tensor x = normal({2, 32, 4, 4}, 1), time = normal({2, read.time_channels}, 2);
  const auto outputs = rows.outputs(block(rows, x, time));
  const Tensor shortcut = (*block.shortcut)(x);
  EXPECT_TRUE(outputs[1][0].equal(outputs[0][0]));
  EXPECT_LT(relative_error(outputs[1][1], shortcut[1] + outputs[0][0] - shortcut[0]), 1e-5);
  EXPECT_GT(relative_error(outputs[1][1], outputs[0][1]), 1e-2);
}

/// Sources first, then their edits, with prompts or labels of their own.
GuidedBatch pairs_of(const Model& model, std::vector<uint64_t> seeds) {
  const size_t pairs = seeds.size();
  GuidedBatch batch;
  batch.steps = 10;
  std::vector<Tensor> contexts, negatives;
  std::vector<int64_t> labels;
  for (const bool edit : {false, true})
    for (size_t i = 0; i < pairs; ++i) {
      contexts.push_back(normal({5, 12}, 100 * seeds[i] + edit));
      negatives.push_back(normal({5, 12}, 7));
      labels.push_back(edit ? 2 : int64_t(seeds[i] % 2));
    }
  seeds.insert(seeds.end(), seeds.begin(), seeds.begin() + std::ptrdiff_t(pairs));
  batch.seeds = seeds;
  batch.negative.emplace();
  if (model.classes) {
    batch.positive.label = at::tensor(labels, at::kLong);
    batch.negative->label = at::full_like(batch.positive.label, 3);
  } else {
    batch.positive.context = at::stack(contexts);
    batch.negative->context = at::stack(negatives);
  }
  return batch;
}

struct EditCase {
  std::string control, off;
  bool needs_text = false;
};

const std::vector<EditCase> kEditCases = {
    {"masactrl:step=2", "masactrl:step=4"},
    {"masactrl:step=2,layers=all", "masactrl:step=9,layers=all"},
    {"pnp", "pnp:features=0.3,attention=0.3"},
    {"pnp:block=1,layers=all", "pnp:features=0,attention=0"},
    {"p2p", "p2p:cross=0.3,self=0", true},
    {"p2p:mode=refine,cross=1,self=1", "p2p:cross=0,self=0", true}};

const std::vector<std::string> kGuidances = {
    "none", "cfg:scale=3", "cfg:scale=3 + tpg:layers=all + pag", "asag + slg + sag + swg"};

template <class Check>
void for_each_case(const Check& check) {
  const at::NoGradGuard guard;
  for (const Model& model : {adm_model(), text_model()})
    for (const auto& entry : kEditCases)
      for (const auto& guidance : kGuidances) {
        if (entry.needs_text && model.classes) continue;
        SCOPED_TRACE(model.kind + " " + entry.control + " " + guidance);
        check(model, entry, guidance);
      }
}

/// The sample at step 3.
Tensor sample_of(const Model& model, const std::string& guidance, const std::string& text,
                 const Tensor& x, GuidedBatch batch, bool share = true) {
  if (!text.empty()) {
    auto pairs = model.classes ? std::vector<PromptPair>{} : prompts(batch.seeds.size() / 2);
    batch.control = choose_edit_control(text, model, std::move(pairs)).control;
  }
  return guided(model, guidance, x, batch, share).sample;
}

TEST(EditControls, ChangeNothingOutsideTheirSteps) {
  for_each_case([](const Model& model, const EditCase& entry, const std::string& guidance) {
    const Tensor x = noise(model);
    const auto batch = pairs_of(model, {7});
    EXPECT_TRUE(sample_of(model, guidance, entry.off, x, batch)
                    .equal(sample_of(model, guidance, "", x, batch)));
  });
}

TEST(EditControls, NeverChangeTheSources) {
  for_each_case([](const Model& model, const EditCase& entry, const std::string& guidance) {
    const Tensor x = noise(model);
    Tensor other = x.clone();
    other[1].copy_(normal(x[0].sizes(), 9));
    const auto batch = pairs_of(model, {7});
    const Tensor plain = sample_of(model, guidance, "", x, batch);
    const Tensor edited = sample_of(model, guidance, entry.control, x, batch);
    EXPECT_LT(relative_error(edited[0], plain[0]), 1e-5);
    EXPECT_GT(relative_error(edited[1], plain[1]), 1e-4);
    // To the bit whatever the edit is.
    EXPECT_TRUE(sample_of(model, guidance, entry.control, other, batch)[0].equal(edited[0]));
  });
}

TEST(EditControls, PairsOfABatchDontMeet) {
  for_each_case([](const Model& model, const EditCase& entry, const std::string& guidance) {
    const Tensor x = noise(model, 4);
    const Tensor both = sample_of(model, guidance, entry.control, x, pairs_of(model, {7, 8}));
    const Tensor second =
        sample_of(model, guidance, entry.control, at::stack({x[1], x[3]}), pairs_of(model, {8}));
    EXPECT_LT(relative_error(both[1], second[0]), 1e-5);
    EXPECT_LT(relative_error(both[3], second[1]), 1e-5);
  });
}

TEST(EditControls, SharedRowsEqualRowsOfTheirOwn) {
  for_each_case([](const Model& model, const EditCase& entry, const std::string& guidance) {
    const Tensor x = noise(model);
    const auto batch = pairs_of(model, {7});
    EXPECT_LT(relative_error(sample_of(model, guidance, entry.control, x, batch, true),
                             sample_of(model, guidance, entry.control, x, batch, false)),
              1e-4);
  });
}

TEST(EditControls, RefuseImagesThatAreNoPairs) {
  const Model model = adm_model();
  GuidedBatch batch = pairs_of(model, {7});
  batch.seeds[1] = 8;
  EXPECT_THROW(sample_of(model, "none", "masactrl", noise(model), batch), Error);
}

std::string refusal(const std::string& text, const Model& model,
                    std::vector<PromptPair> pairs = {}) {
  try {
    choose_edit_control(text, model, std::move(pairs));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(EditControls, MistakesAreNamed) {
  const Model adm = adm_model(), text = text_model();
  EXPECT_TRUE(contains(refusal("masactl", adm), "Did you mean 'masactrl'"))
      << refusal("masactl", adm);
  EXPECT_TRUE(contains(refusal("p2p", adm), "reads no text")) << refusal("p2p", adm);
  EXPECT_TRUE(contains(refusal("p2p:mode=all", text, prompts()), "mode: got 'all'"));
  EXPECT_TRUE(contains(refusal("pnp:block=4", adm), "block: got 4, expected 0 to 3"))
      << refusal("pnp:block=4", adm);
  EXPECT_TRUE(contains(refusal("masactrl:layers=x", adm), "matches nothing"));
  EXPECT_TRUE(contains(refusal("masactrl:step=-1", adm), "step"));
}

/// SD1.5's 16 blocks: 6 down, 1 in the middle, 9 up in stacks of one.
TEST(EditControls, DefaultLayersAreTheAuthors) {
  std::vector<Site> sites;
  const auto add = [&](Part part, int count) {
    for (int i = 0; i < count; ++i)
      sites.push_back({"", part, i, int(sites.size()), int(sites.size()), 1, 1});
  };
  add(Part::down, 6);
  add(Part::mid, 1);
  add(Part::up, 9);
  for (const auto& entry : edit_controls()) {
    if (!entry.default_layers) continue;
    EXPECT_EQ(entry.default_layers(sites), entry.name == "pnp" ? "u1-8" : "u3-8");
  }
  EXPECT_EQ(sites_from(sites, 5), "d5-5+m0-0+u0-8");
}

}  // namespace
}  // namespace tiller::test
