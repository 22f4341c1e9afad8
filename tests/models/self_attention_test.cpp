/// Which rows Rows::attention asks a projection for.
#include "models/adm_blocks.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

using Kind = Perturbation::Kind;

constexpr int64_t kPairs = 2, kAttendedTokens = 6, kWidth = 4;

const Site kSite{"m.0", Part::mid, 0, 0, 0, 1, 1};

struct ToyAttention final : Perturbation {
  explicit ToyAttention(Kind kind) : kind_(kind) {}
  Kind kind() const override { return kind_; }
  bool acts_at(const Site&) const override { return true; }
  bool is_identity() const override { return kind_ == Kind::attention; }
  void observe(const Site&, const Tensor& q, const Tensor& k) const override { seen = {q, k, {}}; }
  Kind kind_;
  mutable Heads seen;
};

/// Edits read their source's values.
struct SourceValues final : EditControl {
  bool in_all_branches() const override { return true; }
  FromSource self_attention(const Site&) const override { return {.v = true}; }
};

/// Makes 2x, 3x and 4x of tokens, and keeps what it was asked for.
struct AskedAttention {
  Tensor all, values;
  SelfProjection projection() {
    return {[this](const Tensor& x) {
              all = x;
              const Tensor heads = x.unsqueeze(1);
              return Heads{2 * heads, 3 * heads, 4 * heads};
            },
            [this](const Tensor& x) {
              values = x;
              return 4 * x.unsqueeze(1);
            }};
  }
};

Tensor tokens(int64_t groups) {
  return formula_tensor("x", {groups * kPairs, kAttendedTokens, kWidth});
}

Tensor branch_part(const Tensor& x, int64_t group) { return x.narrow(0, group * kPairs, kPairs); }

Tensor attended(const Tensor& x) {
  const Tensor heads = x.unsqueeze(1);
  return at::scaled_dot_product_attention(2 * heads, 3 * heads, 4 * heads).squeeze(1);
}

std::vector<Conditioning> labels(int64_t count) {
  std::vector<Conditioning> all(count);
  for (Conditioning& one : all) one.label = at::zeros({kPairs}, at::kLong);
  return all;
}

TEST(SelfAttention, AsksForValuesAloneOfIdentities) {
  const auto with = labels(4);
  const ToyAttention identity(Kind::attention), watch(Kind::observe);
  const std::vector<Branch> branches = {
      {&with[0]}, {&with[1], &identity}, {&with[2]}, {&with[3], &watch}};
  Rows rows(branches, kPairs);
  const Tensor x = tokens(4);
  AskedAttention asked;
  const Tensor got = rows.attention(kSite, x, asked.projection()).squeeze(1);
  EXPECT_TRUE(asked.all.equal(at::cat({branch_part(x, 0), branch_part(x, 2), branch_part(x, 3)})));
  EXPECT_TRUE(asked.values.equal(branch_part(x, 1)));
  EXPECT_TRUE(branch_part(got, 1).equal(4 * branch_part(x, 1)));
  for (const int64_t g : {0, 2, 3})
    EXPECT_TRUE(branch_part(got, g).equal(attended(branch_part(x, g)))) << g;
  EXPECT_TRUE(watch.seen.q.squeeze(1).equal(2 * branch_part(x, 3)));
  EXPECT_TRUE(watch.seen.k.squeeze(1).equal(3 * branch_part(x, 3)));
}

TEST(SelfAttention, AsksForNothingElseWhereAllAreIdentities) {
  const auto with = labels(2);
  const ToyAttention identity(Kind::attention);
  const std::vector<Branch> branches = {{&with[0], &identity}, {&with[1], &identity}};
  Rows rows(branches, kPairs);
  const Tensor x = tokens(2);
  AskedAttention asked;
  EXPECT_TRUE(rows.attention(kSite, x, asked.projection()).squeeze(1).equal(4 * x));
  EXPECT_FALSE(asked.all.defined());
  EXPECT_EQ(rows.flops().spent, 0) << "the projection counts its own";
}

/// Where they part, the row that they share is projected whole, and its values serve both.
TEST(SelfAttention, BranchesThatPartShareTheProjection) {
  const Conditioning none;
  const ToyAttention identity(Kind::attention);
  const std::vector<Branch> branches = {{&none, &identity}, {&none}};
  Rows rows(branches, kPairs);
  const Tensor x = tokens(1);
  AskedAttention asked;
  const auto outputs = rows.outputs(rows.attention(kSite, x, asked.projection()).squeeze(1));
  EXPECT_EQ(rows.groups(), 2);
  EXPECT_TRUE(asked.all.equal(x));
  EXPECT_FALSE(asked.values.defined());
  EXPECT_TRUE(outputs[0].equal(4 * x));
  EXPECT_TRUE(outputs[1].equal(attended(x)));
}

TEST(SelfAttention, EditsReadTheirSources) {
  const auto with = labels(2);
  const ToyAttention identity(Kind::attention);
  const SourceValues control;
  const std::vector<Branch> branches = {{&with[0], nullptr, nullptr, nullptr, &control},
                                        {&with[1], &identity, nullptr, nullptr, &control}};
  Rows rows(branches, kPairs);
  const Tensor x = tokens(2);
  AskedAttention asked;
  const Tensor got = rows.attention(kSite, x, asked.projection()).squeeze(1);
  EXPECT_TRUE(asked.all.equal(x));
  EXPECT_TRUE(branch_part(got, 1).equal(
      4 * branch_part(x, 1)[0].expand({kPairs, kAttendedTokens, kWidth})));
}

/// Two attention blocks: the rows part in the first, and in the second have one product of four.
TEST(SelfAttention, CountsWhatIsDone) {
  const int64_t channels = 32, side = 4;
  Weights weights(0);
  std::vector<adm::AttentionBlock> blocks;
  for (const int order : {0, 1})
    blocks.push_back(adm::take_attention(
        weights, {}, {std::to_string(order), Part::mid, order, order, order, 1, 2}, channels));
  const Conditioning none;
  const ToyAttention identity(Kind::attention);
  const std::vector<Branch> branches = {{&none}, {&none, &identity}};
  const double n = side * side, product = 2 * n * channels * channels,
               attention = 4 * n * n * channels;
  for (const bool share : {true, false}) {
    Rows rows(branches, kPairs, {.share = share});
    Tensor x = rows.roots(formula_tensor("x", {kPairs, channels, side, side}));
    for (const auto& block : blocks) x = block(rows, x);
    const double first = share ? 3 : 3 + 1;
    EXPECT_EQ(rows.flops().spent, kPairs * ((first + 3 + 1 + 2 * 2) * product + 2 * attention));
    EXPECT_EQ(rows.flops().unshared, kPairs * 2 * 2 * (4 * product + attention));
  }
}

}  // namespace
}  // namespace tiller::test
