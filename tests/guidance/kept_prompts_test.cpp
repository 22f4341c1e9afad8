#include "models/ip_adapter.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// Four steps' predictions, one below the other.
Tensor predicted(const Model& model, const std::string& text, GuidedBatch batch, bool keeps,
                 FlopCount* flops = nullptr) {
  batch.keeps_prompts = keeps;
  auto chosen = choose_guidances({text}, model);
  GuidanceCost cost;
  const auto images = int64_t(batch.seeds.size());
  const Denoiser denoise = guided_denoiser(model, chosen, std::move(batch), true, &cost);
  std::vector<Tensor> all;
  for (int step = 2; step < 6; ++step)
    all.push_back(denoise(normal({images, 4, 8, 8}, uint64_t(step)), level_at(step)).epsilon);
  if (flops) *flops = cost.flops;
  return at::cat(all);
}

TEST(KeptPrompts, ChangeNoBit) {
  const c10::InferenceMode inference;
  const Model model = text_model();
  const GuidedBatch batch = text_batch({7, 8});
  for (const std::string each :
       {"none", "cfg:scale=3", "cfg + pag", "cfg + tpg", "asag", "icg", "nag",
        "nag + pag:layers=all", "sag", "cfg:scale=3,from=0.3,to=0.5", "perp-neg", "slg + seg",
        "cfg + pladis", "nag + pladis:from=0.4"})
    EXPECT_TRUE(
        at::equal(predicted(model, each, batch, true), predicted(model, each, batch, false)))
        << each;
}

/// Each step but the first saves the keys and values of 5 tokens of width 12, for the images of
/// both branches, in three blocks of width 16 and one of 32.
TEST(KeptPrompts, AreProjectedOnce) {
  const c10::InferenceMode inference;
  const Model model = text_model();
  FlopCount kept, anew;
  predicted(model, "cfg:scale=3", text_batch({7, 8}), true, &kept);
  predicted(model, "cfg:scale=3", text_batch({7, 8}), false, &anew);
  const double a_step = 2.0 * (2 * 2 * 5 * 12) * 2 * (3 * 16 + 32);
  EXPECT_EQ(anew.spent - kept.spent, 3 * a_step);
  EXPECT_EQ(anew.unshared, kept.unshared);
}

/// Each step says what a batch of its own prompts would.
TEST(KeptPrompts, OfPromptsThatChangeAreThoseOfTheStep) {
  const c10::InferenceMode inference;
  const Model model = text_model();
  const GuidedBatch first = text_batch({7, 8});
  GuidedBatch second = first, changing = first;
  second.positive.context = normal(first.positive.context.sizes(), 31);
  second.negative->context = normal(first.negative->context.sizes(), 32);
  for (int step = 0; step < first.steps; ++step) {
    const bool later = step == 3 || step == 5;  // there, back and there again
    const GuidedBatch& own = later ? second : first;
    changing.positive_at.push_back({own.positive.context, own.positive.pooled});
    changing.negative_at.push_back({own.negative->context, own.negative->pooled});
  }
  for (const std::string each : {"none", "cfg:scale=3", "cfg + pag", "nag", "cfg + tpg"}) {
    const Tensor got = predicted(model, each, changing, true);
    EXPECT_TRUE(at::equal(got, predicted(model, each, changing, false))) << each;
    const auto a = predicted(model, each, first, true).chunk(4),
               b = predicted(model, each, second, true).chunk(4), c = got.chunk(4);
    for (size_t i = 0; i < 4; ++i)
      EXPECT_TRUE(at::equal(c[i], i % 2 ? b[i] : a[i])) << each << ", step " << i + 2;
  }
}

/// With --share off all is done anew, so that it costs what is saved otherwise.
TEST(KeptPrompts, ArentWhereNothingIsShared) {
  const c10::InferenceMode inference;
  const Model model = text_model();
  GuidanceCost cost;
  auto chosen = choose_guidances({"cfg:scale=3"}, model);
  const Denoiser denoise = guided_denoiser(model, chosen, text_batch({7}), false, &cost);
  for (int step = 2; step < 4; ++step)
    (denoise(normal({1, 4, 8, 8}, 3), level_at(step)).epsilon).tensor();
  EXPECT_EQ(cost.flops.spent, cost.flops.unshared);
}

/// The widths of a text_model's cross-attentions, by their order.
IpAdapter random_adapter(const Network& network) {
  ImageAttention part{.scale = 0.7, .tokens = 3};
  for (const Site& site : network.sites()) {
    const int64_t width = site.part == Part::mid ? 32 : 16;
    part.keys.push_back({.weight = normal({width, 6}, 300 + uint64_t(site.order)), .bias = {}});
    part.values.push_back({.weight = normal({width, 6}, 400 + uint64_t(site.order)), .bias = {}});
  }
  return {{part, part}};
}

TEST(KeptPrompts, OfImagesChangeNoBit) {
  const c10::InferenceMode inference;
  const Model model = text_model();
  GuidedBatch batch = text_batch({7, 8});
  const auto adapter = std::make_shared<const IpAdapter>(random_adapter(*model.network));
  for (Conditioning* each : {&batch.positive, &*batch.negative}) {
    each->adapter = adapter;
    each->image = normal({2, 6, 6}, each == &batch.positive ? 11 : 12);
  }
  FlopCount kept, anew;
  const Tensor with = predicted(model, "cfg:scale=3", batch, true, &kept);
  EXPECT_TRUE(at::equal(with, predicted(model, "cfg:scale=3", batch, false, &anew)));
  const double text = 2.0 * (2 * 2 * 5 * 12) * 2 * (3 * 16 + 32),
               image = 2.0 * (2 * 2 * 6 * 6) * 2 * (3 * 16 + 32);
  EXPECT_EQ(anew.spent - kept.spent, 3 * (text + image));
  EXPECT_GT(relative_error(with, predicted(model, "cfg:scale=3", text_batch({7, 8}), true)), 1e-3);
}

/// Null-text inversion changes a prompt in place between evaluations with gradients.
TEST(KeptPrompts, ArentWhereGradientsAreWanted) {
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 3);
  GuidedBatch batch = text_batch({7});
  batch.positive.context.requires_grad_();
  auto chosen = choose_guidances({"none"}, model);
  const Denoiser denoise = guided_denoiser(model, chosen, batch, true);
  const Tensor before = denoise(x, level_at(2)).epsilon.tensor();
  {
    const at::NoGradGuard no_gradients;
    batch.positive.context.add_(1);
  }
  const Tensor after = denoise(x, level_at(2)).epsilon.tensor();
  EXPECT_GT(relative_error(after, before), 1e-3);
  EXPECT_TRUE(after.requires_grad());
}

}  // namespace
}  // namespace tiller::test
