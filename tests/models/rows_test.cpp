#include "models/branch.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

using Kind = Perturbation::Kind;

constexpr int64_t kImages = 2, kTokens = 6, kChannels = 4;

/// d0 and d1 are one stack, m0 is another.
std::vector<Site> sites() {
  return {{"d.0", Part::down, 0, 0, 0, 1, 1},
          {"d.1", Part::down, 1, 1, 0, 1, 1},
          {"m.0", Part::mid, 0, 2, 1, 1, 1}};
}

/// Acts at chosen sites, by order; a different rule for each kind.
struct Toy : Perturbation {
  Toy(Kind kind, std::vector<int> orders) : kind_(kind), orders_(std::move(orders)) {}
  Kind kind() const override { return kind_; }
  bool acts_at(const Site& site) const override {
    return std::count(orders_.begin(), orders_.end(), site.order) > 0;
  }
  Tensor permutation(const Site& site) const override {
    return formula_tensor(site.path, {kImages, kTokens}).argsort(int64_t{1});
  }
  Tensor tokens(const Site&, const Tensor& x) const override {
    ++calls;
    return 0.5 * x;
  }
  Tensor attention(const Site&, const Tensor&, const Tensor&, const Tensor& v) const override {
    ++calls;
    return v;
  }
  Tensor context() const override { return tokens_named("second"); }
  Tensor blend(const Tensor& own, const Tensor& second) const override { return own - second; }
  Tensor time(const Tensor& embedding) const override { return 0.5 * embedding; }
  void observe(const Site&, const Tensor& q, const Tensor&) const override { seen = q; }
  static Tensor tokens_named(const std::string& name) {
    return formula_tensor(name, {kImages, kTokens, kChannels});
  }
  Kind kind_;
  std::vector<int> orders_;
  mutable Tensor seen;
  mutable int calls = 0;
};

Tensor tokens(const std::string& name = "x") {
  return formula_tensor(name, {kImages, kTokens, kChannels});
}

Tensor part(const Tensor& x, int64_t group) { return x.narrow(0, group * kImages, kImages); }

Tensor shuffled(const Tensor& x, const Tensor& permutation) {
  return at::stack({x[0].index_select(0, permutation[0]), x[1].index_select(0, permutation[1])});
}

Tensor attend(Rows& rows, const Site& site, const Tensor& x) {
  const Tensor heads = x.unsqueeze(1);
  return rows.attention(site, heads, heads, heads).squeeze(1);
}

TEST(Rows, BeginWithAGroupForEachConditioning) {
  for (const auto field : {&Conditioning::label, &Conditioning::pooled, &Conditioning::time_ids,
                           &Conditioning::guidance}) {
    const Tensor value = formula_tensor("value", {kImages, 3});
    Conditioning a, same, equal;
    a.*field = value;
    same.*field = value;
    equal.*field = value.clone();
    const std::vector<Branch> branches = {{&a}, {&equal}, {&same}};
    Rows rows(branches, kImages);
    EXPECT_EQ(rows.groups(), 2);
    EXPECT_TRUE(rows.gather(field).equal(at::cat({value, value})));
    EXPECT_TRUE(rows.roots(tokens()).equal(at::cat({tokens(), tokens()})));
    const Tensor last = at::cat({tokens("first"), tokens("second")});
    const auto outputs = rows.outputs(last);
    ASSERT_EQ(outputs.size(), 3u);
    EXPECT_TRUE(outputs[0].equal(tokens("first")));
    EXPECT_TRUE(outputs[1].equal(tokens("second")));
    EXPECT_TRUE(outputs[2].equal(tokens("first")));
  }
}

TEST(Rows, AbsentConditioningIsUndefined) {
  const Conditioning none;
  const Branch branch{&none};
  const Rows rows({&branch, 1}, kImages);
  EXPECT_FALSE(rows.gather(&Conditioning::label).defined());
}

TEST(Rows, ContextsForkWhereTheyAreRead) {
  Conditioning a, b;
  a.context = tokens("a");
  b.context = tokens("b");
  const Conditioning same = a;
  const std::vector<Branch> branches = {{&a}, {&b}, {&same}, {&b}};
  Rows rows(branches, kImages);
  EXPECT_EQ(rows.groups(), 1);
  const Tensor split = rows.split_contexts(sites()[0], tokens());
  EXPECT_EQ(rows.groups(), 2);
  EXPECT_TRUE(split.equal(at::cat({tokens(), tokens()})));
  EXPECT_TRUE(rows.gather(&Conditioning::context).equal(at::cat({a.context, b.context})));
  EXPECT_TRUE(rows.split_contexts(sites()[0], split).equal(split));
  EXPECT_EQ(rows.groups(), 2);
}

TEST(Rows, TokensForkOnceAtTheFirstSite) {
  const Conditioning none;
  const Toy halved(Kind::tokens, {1, 2});
  const std::vector<Branch> branches = {{&none}, {&none, &halved}, {&none, &halved}};
  Rows rows(branches, kImages);
  Tensor x = rows.enter(sites()[0], tokens());
  EXPECT_EQ(rows.groups(), 1);
  x = rows.enter(sites()[1], x);
  EXPECT_EQ(rows.groups(), 2);
  x = rows.enter(sites()[2], x);
  EXPECT_EQ(rows.groups(), 2);
  EXPECT_EQ(halved.calls, 2);
  EXPECT_TRUE(part(x, 0).equal(tokens()));
  EXPECT_TRUE(part(x, 1).equal(0.25 * tokens()));
}

TEST(Rows, AttentionForksOnceAtTheFirstSite) {
  const Conditioning none;
  const Toy identity(Kind::attention, {1, 2});
  const std::vector<Branch> branches = {{&none, &identity}, {&none}, {&none, &identity}};
  Rows rows(branches, kImages);
  const Tensor x = tokens();
  const Tensor plain = attend(rows, sites()[0], x);
  EXPECT_EQ(plain.size(0), kImages);
  Tensor y = attend(rows, sites()[1], x);
  ASSERT_EQ(rows.groups(), 2);
  const auto outputs = rows.outputs(y);
  EXPECT_TRUE(outputs[0].equal(x));
  EXPECT_TRUE(at::allclose(outputs[1], plain, 1e-5, 1e-6));
  y = attend(rows, sites()[2], y);
  EXPECT_EQ(rows.groups(), 2);
  EXPECT_EQ(identity.calls, 2);
  EXPECT_TRUE(rows.outputs(y)[2].equal(x));
}

TEST(Rows, PermutationsComposeAndForkWhenTheStackEnds) {
  const Conditioning none;
  const Toy shuffle(Kind::permutation, {0, 1});
  const std::vector<Branch> branches = {{&none}, {&none, &shuffle}, {&none, &shuffle}};
  Rows rows(branches, kImages);
  const Tensor x = tokens();
  EXPECT_TRUE(rows.enter(sites()[0], x).equal(x));
  EXPECT_TRUE(rows.enter(sites()[1], x).equal(x));
  EXPECT_EQ(rows.groups(), 1);
  const Tensor y = rows.leave_stack(x);
  ASSERT_EQ(rows.groups(), 2);
  const Tensor first = shuffle.permutation(sites()[0]), second = shuffle.permutation(sites()[1]);
  EXPECT_TRUE(part(y, 0).equal(x));
  EXPECT_TRUE(part(y, 1).equal(shuffled(shuffled(x, first), second)));
  EXPECT_FALSE(part(y, 1).equal(shuffled(shuffled(x, second), first)));
  EXPECT_TRUE(rows.leave_stack(y).equal(y));
}

TEST(Rows, SkippedBlocksForkWhereTheNextOneRuns) {
  const Conditioning none;
  const Toy first(Kind::skip, {0}), both(Kind::skip, {0, 1});
  const std::vector<Branch> branches = {{&none}, {&none, &first}, {&none, &both}, {&none, &both}};
  Rows rows(branches, kImages);
  const Tensor x = tokens();
  EXPECT_TRUE(rows.enter(sites()[0], x).equal(x));
  EXPECT_EQ(rows.groups(), 1);
  const Tensor y = rows.enter(sites()[1], 2 * x);
  ASSERT_EQ(rows.groups(), 2);
  EXPECT_TRUE(y.equal(at::cat({2 * x, x})));
  const Tensor z = rows.resume(3 * y);
  ASSERT_EQ(rows.groups(), 3);
  EXPECT_TRUE(z.equal(at::cat({6 * x, 3 * x, x})));
  EXPECT_TRUE(rows.resume(z).equal(z));
}

TEST(Rows, ObserversSeeTheirRowsAndShareThem) {
  const Conditioning none;
  const Toy watch(Kind::observe, {0}), identity(Kind::attention, {0});
  const std::vector<Branch> branches = {{&none, &identity}, {&none}, {&none, &watch}};
  Rows rows(branches, kImages);
  const Tensor x = tokens();
  const auto outputs = rows.outputs(attend(rows, sites()[0], x));
  EXPECT_EQ(rows.groups(), 2);
  EXPECT_TRUE(watch.seen.squeeze(1).equal(x));
  EXPECT_TRUE(outputs[1].equal(outputs[2]));
  EXPECT_TRUE(outputs[0].equal(x));
}

TEST(Rows, TimesPartAtTheStart) {
  const Conditioning none;
  const Toy halved(Kind::time, {});
  const std::vector<Branch> branches = {{&none}, {&none, &halved}, {&none}, {&none, &halved}};
  Rows rows(branches, kImages);
  ASSERT_EQ(rows.groups(), 2);
  const Tensor x = tokens();
  EXPECT_TRUE(rows.time(rows.roots(x)).equal(at::cat({x, 0.5 * x})));
}

TEST(Rows, SecondContextsAreReadWithTheSameQueries) {
  Conditioning a, b;
  a.context = tokens("a");
  b.context = tokens("b");
  const Toy second(Kind::cross, {0});
  const std::vector<Branch> branches = {{&a, nullptr, &second}, {&b}, {&a}};
  Rows rows(branches, kImages);
  const Tensor q = rows.split_contexts(sites()[0], tokens());
  ASSERT_EQ(rows.groups(), 3);
  const auto project = [&](const Tensor& contexts) {
    rows.count(double(contexts.numel()), contexts.size(0));
    return PromptHeads{contexts.unsqueeze(1), 2 * contexts.unsqueeze(1)};
  };
  const auto read = [](const Tensor& context) {
    const Tensor queries = tokens().unsqueeze(1), keys = context.unsqueeze(1);
    return at::scaled_dot_product_attention(queries, keys, 2 * keys);
  };
  const Tensor got = rows.cross_attention(sites()[0], q.unsqueeze(1), project);
  const Tensor expected =
      at::cat({read(a.context) - read(tokens("second")), read(b.context), read(a.context)});
  EXPECT_LT(relative_error(got, expected), 1e-5);
  EXPECT_DOUBLE_EQ(rows.flops().spent, rows.flops().unshared);
  const Tensor elsewhere = rows.cross_attention(sites()[1], q.unsqueeze(1), project);
  EXPECT_LT(relative_error(part(elsewhere, 0), read(a.context)), 1e-5);
}

TEST(Rows, TextRulesForkAtTheirFirstCrossAttention) {
  Conditioning a;
  a.context = tokens("a");
  const Toy rule(Kind::text, {1}), same(Kind::text, {1});
  Tensor seen;
  const TextObserver observer = [&](const Site&, const Tensor& q, const Tensor& k) {
    seen = at::cat({q, k}, 2);
  };
  const std::vector<Branch> branches = {
      {&a, nullptr, nullptr, &observer}, {&a, &rule}, {&a, &same}};
  Rows rows(branches, kImages);
  const auto project = [&](const Tensor& contexts) {
    return PromptHeads{contexts.unsqueeze(1), 2 * contexts.unsqueeze(1)};
  };
  Tensor q = rows.split_contexts(sites()[0], tokens());
  rows.cross_attention(sites()[0], q.unsqueeze(1), project);
  EXPECT_EQ(rows.groups(), 1);
  q = rows.split_contexts(sites()[1], tokens());
  ASSERT_EQ(rows.groups(), 3);
  const Tensor got = rows.cross_attention(sites()[1], q.unsqueeze(1), project);
  const Tensor queries = tokens().unsqueeze(1), keys = a.context.unsqueeze(1);
  EXPECT_LT(relative_error(part(got, 0), at::scaled_dot_product_attention(queries, keys, 2 * keys)),
            1e-5);
  EXPECT_TRUE(part(got, 1).equal(2 * keys));
  EXPECT_EQ(rule.calls, 1);
  EXPECT_TRUE(seen.equal(at::cat({queries, keys}, 2)));
}

TEST(Rows, EqualBranchesStayOneGroup) {
  Conditioning a, b;
  a.context = tokens("a");
  b.context = tokens("b");
  const Toy halved(Kind::tokens, {0}), other(Kind::tokens, {0});
  const std::vector<Branch> branches = {{&a, &halved}, {&a, &halved}, {&a, &other}, {&b, &halved}};
  Rows rows(branches, kImages);
  const Tensor x = rows.split_contexts(sites()[0], rows.enter(sites()[0], tokens()));
  EXPECT_EQ(rows.groups(), 3);
  const auto outputs = rows.outputs(at::arange(3 * kImages));
  EXPECT_TRUE(outputs[0].equal(outputs[1]));
  EXPECT_FALSE(outputs[0].equal(outputs[2]));
  EXPECT_FALSE(outputs[0].equal(outputs[3]));
  EXPECT_TRUE(x.equal(at::cat({0.5 * tokens(), 0.5 * tokens(), 0.5 * tokens()})));
}

/// The third group forks from the second, which forked from the first.
TEST(Rows, ExpandFollowsTheForks) {
  Conditioning a, b;
  a.context = tokens("a");
  b.context = tokens("b");
  const Toy halved(Kind::tokens, {1});
  const std::vector<Branch> branches = {{&a}, {&b}, {&b, &halved}};
  Rows rows(branches, kImages);
  const Tensor one = tokens("one");
  rows.split_contexts(sites()[0], tokens());
  const Tensor two = at::cat({tokens("two"), tokens("three")});
  const Tensor entered = rows.enter(sites()[1], two);
  ASSERT_EQ(rows.groups(), 3);
  EXPECT_TRUE(rows.expand(one).equal(at::cat({one, one, one})));
  EXPECT_TRUE(rows.expand(two).equal(at::cat({two, tokens("three")})));
  EXPECT_TRUE(rows.expand(entered).equal(entered));
}

TEST(Rows, CountWhatEachBranchAloneWouldHaveRun) {
  const Conditioning none;
  const Toy halved(Kind::tokens, {0});
  const std::vector<Branch> branches = {{&none}, {&none, &halved}, {&none}};
  Rows rows(branches, kImages);
  rows.count(10, kImages);  // 10 for each branch
  rows.enter(sites()[0], tokens());
  rows.count(40, 2 * kImages);  // 20 for each
  rows.count(6, kImages);       // a tensor made before the fork: 6 for each
  EXPECT_DOUBLE_EQ(rows.flops().spent, 56);
  EXPECT_DOUBLE_EQ(rows.flops().unshared, 3 * 36);
}

/// Self-attention, cross-attention and a layer whose weights are the channels' numbers.
Tensor block(Rows& rows, const Site& site, Tensor x) {
  x = rows.enter(site, x);
  const Tensor attended = attend(rows, site, 2 * x);
  x = rows.split_contexts(site, rows.expand(x) + attended);
  const Tensor context = rows.gather(&Conditioning::context).mean(1, true);
  rows.count(2.0 * x.numel(), x.size(0));
  return x + (x * (1 + at::arange(kChannels)) + context).sin();
}

Tensor forward(const Tensor& input, Rows& rows) {
  const Tensor place = at::arange(kTokens, at::kFloat).reshape({1, -1, 1});
  Tensor x = rows.roots(input) + rows.gather(&Conditioning::label).reshape({-1, 1, 1});
  rows.count(3.0 * x.numel(), x.size(0));
  const Tensor entered = x;
  x = rows.leave_stack(block(rows, sites()[1], block(rows, sites()[0], x)));
  x = x * place.cos() + rows.expand(entered);
  x = rows.leave_stack(block(rows, sites()[2], x));
  return x * place.sin();
}

TEST(Rows, SharedRowsEqualRowsOfTheirOwn) {
  Conditioning prompt, negative, other_label;
  prompt.label = at::tensor({0.1f, 0.2f});
  prompt.context = tokens("prompt");
  negative = prompt;
  negative.context = tokens("negative");
  other_label = prompt;
  other_label.label = at::tensor({0.3f, 0.4f});
  const Toy shuffle(Kind::permutation, {0, 1}), late_shuffle(Kind::permutation, {2}),
      halved(Kind::tokens, {1, 2}), identity(Kind::attention, {0, 2});
  std::vector<Branch> branches;
  for (const auto* conditioning : {&prompt, &negative, &other_label})
    for (const Toy* toy :
         {static_cast<const Toy*>(nullptr), &shuffle, &late_shuffle, &halved, &identity})
      branches.push_back({conditioning, toy});
  branches.push_back(branches[1]);
  Rows shared(branches, kImages), apart(branches, kImages, {.share = false});
  EXPECT_EQ(shared.groups(), 2);
  EXPECT_EQ(apart.groups(), 16);
  const auto a = shared.outputs(forward(tokens(), shared));
  const auto b = apart.outputs(forward(tokens(), apart));
  EXPECT_EQ(shared.groups(), 15);
  for (size_t i = 0; i < branches.size(); ++i) {
    EXPECT_TRUE(at::allclose(a[i], b[i], 1e-4, 1e-5)) << i;
    Rows alone({&branches[i], 1}, kImages);
    EXPECT_TRUE(at::allclose(forward(tokens(), alone), b[i], 1e-4, 1e-5)) << i;
    for (size_t j = 0; j < std::min<size_t>(i, 15) && i < 15; ++j)
      EXPECT_FALSE(at::allclose(a[i], a[j], 1e-2, 1e-2)) << i << " " << j;
  }
  EXPECT_LT(shared.flops().spent, apart.flops().spent);
  EXPECT_DOUBLE_EQ(shared.flops().unshared, apart.flops().spent);
  EXPECT_DOUBLE_EQ(apart.flops().unshared, apart.flops().spent);
}

}  // namespace
}  // namespace tiller::test
