#include "guidance/token_map.h"

#include <random>

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

constexpr int64_t kBegin = 100, kEnd = 101;

/// A prompt of these words, each of one or more tokens, in a context of `length` tokens.
PromptTokens word_tokens(const std::vector<std::vector<int64_t>>& words, size_t length = 8) {
  PromptTokens tokens{{kBegin}, {PromptTokens::edge}};
  for (size_t word = 0; word < words.size(); ++word)
    for (const int64_t id : words[word]) {
      tokens.ids.push_back(id);
      tokens.words.push_back(int64_t(word));
    }
  tokens.ids.push_back(kEnd);
  tokens.words.push_back(PromptTokens::edge);
  tokens.ids.resize(length, kEnd);
  tokens.words.resize(length, PromptTokens::padding);
  return tokens;
}

/// Which of the source's tokens each of the edit's takes, where it takes one.
std::vector<int64_t> partners(const TokenMap& map) {
  std::vector<int64_t> found;
  for (int64_t j = 0; j < map.matrix.size(1); ++j) {
    const bool own = map.taken[j].item<float>() == 0;
    found.push_back(own ? -1 : map.matrix.select(1, j).argmax().item<int64_t>());
  }
  return found;
}

TEST(TokenMap, WordsAreReplacedOneByOne) {
  const TokenMap map =
      replace_map({word_tokens({{1}, {2}, {3}}), word_tokens({{1}, {9}, {3}}), {{2, 1.5}}});
  EXPECT_TRUE(map.matrix.equal(at::eye(8)));
  EXPECT_TRUE(map.taken.equal(at::ones({8})));
  EXPECT_TRUE(map.weights.equal(at::tensor({1.f, 1.f, 1.5f, 1.f, 1.f, 1.f, 1.f, 1.f})));
}

/// All that the words of the source get, words of more or fewer tokens share; what follows moves.
TEST(TokenMap, WordsOfMoreTokensShareTheAttention) {
  const TokenMap longer =
      replace_map({word_tokens({{1}, {2}, {3}}), word_tokens({{1}, {7, 8, 9}, {3}}), {}});
  EXPECT_TRUE(longer.matrix.select(1, 2).equal(longer.matrix.select(1, 3)));
  EXPECT_NEAR(longer.matrix[2][4].item<double>(), 1.0 / 3, 1e-6);
  EXPECT_NEAR(longer.matrix[2].sum().item<double>(), 1, 1e-6);
  EXPECT_EQ(longer.matrix[3][5].item<double>(), 1);  // the word behind
  EXPECT_EQ(longer.matrix[4][6].item<double>(), 1);  // the end
  EXPECT_EQ(longer.matrix[5][7].item<double>(), 1);  // the padding
  const TokenMap shorter =
      replace_map({word_tokens({{1}, {7, 8, 9}, {3}}), word_tokens({{1}, {2}, {3}}), {}});
  EXPECT_TRUE(shorter.matrix.select(1, 2).narrow(0, 2, 3).equal(at::ones({3})));
  EXPECT_EQ(shorter.matrix.select(1, 2).sum().item<double>(), 3);
}

TEST(TokenMap, RefusesToReplaceOtherNumbersOfWords) {
  try {
    replace_map({word_tokens({{1}}), word_tokens({{1}, {2}}), {}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), "1 and 2 words")) << error.what();
  }
}

TEST(TokenMap, NewTokensKeepTheirOwnAttention) {
  const TokenMap map =
      refine_map({word_tokens({{1}, {2}, {3}}), word_tokens({{1}, {9}, {2}, {3}}), {}});
  EXPECT_EQ(partners(map), (std::vector<int64_t>{0, 1, -1, 2, 3, 4, 6, 7}));
  EXPECT_EQ(map.matrix.select(1, 2).sum().item<double>(), 0);
  const TokenMap dropped = refine_map({word_tokens({{1}, {9}, {2}}), word_tokens({{1}, {2}}), {}});
  EXPECT_EQ(partners(dropped), (std::vector<int64_t>{0, 1, 3, 4, 4, 5, 6, 7}));
}

int longest_common(const std::vector<int64_t>& x, const std::vector<int64_t>& y, size_t i = 0,
                   size_t j = 0) {
  if (i == x.size() || j == y.size()) return 0;
  if (x[i] == y[j]) return 1 + longest_common(x, y, i + 1, j + 1);
  return std::max(longest_common(x, y, i + 1, j), longest_common(x, y, i, j + 1));
}

/// With these costs the best alignment is a longest common subsequence.
TEST(TokenMap, AlignmentsAreLongestCommonSubsequences) {
  std::mt19937 random(1);
  const auto draw = [&] {
    std::vector<int64_t> ids(random() % 9);
    for (auto& id : ids) id = random() % 4;
    return ids;
  };
  for (int trial = 0; trial < 200; ++trial) {
    const auto x = draw(), y = draw();
    const auto found = aligned(x, y);
    ASSERT_EQ(found.size(), y.size());
    int matches = 0;
    int64_t last = -1;
    for (size_t j = 0; j < y.size(); ++j) {
      if (found[j] < 0) continue;
      EXPECT_GT(found[j], last);
      EXPECT_EQ(x[size_t(found[j])], y[j]);
      last = found[j];
      ++matches;
    }
    EXPECT_EQ(matches, longest_common(x, y));
  }
}

}  // namespace
}  // namespace tiller::test
