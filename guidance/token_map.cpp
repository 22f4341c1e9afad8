#include "guidance/token_map.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"

namespace tiller {
namespace {

using Positions = std::vector<int64_t>;

int64_t length(const PromptPair& pair) { return int64_t(pair.edit.ids.size()); }

TokenMap empty_map(const PromptPair& pair) {
  const int64_t tokens = length(pair);
  TokenMap map{at::zeros({tokens, tokens}), at::ones({tokens}), at::ones({tokens})};
  for (const auto& [token, weight] : pair.weights) map.weights[token].fill_(weight);
  return map;
}

/// Tokens of each word.
std::vector<Positions> words_of(const PromptTokens& tokens) {
  std::vector<Positions> words(size_t(word_count(tokens)));
  for (size_t i = 0; i < tokens.words.size(); ++i)
    if (tokens.words[i] >= 0) words[size_t(tokens.words[i])].push_back(int64_t(i));
  return words;
}

/// Tokens where the prompts have edges (padding: false) or padding.
Positions others_of(const PromptTokens& tokens, bool padding) {
  Positions found;
  for (size_t i = 0; i < tokens.words.size(); ++i)
    if (tokens.words[i] == (padding ? PromptTokens::padding : PromptTokens::edge))
      found.push_back(int64_t(i));
  return found;
}

Positions contents_of(const PromptTokens& tokens) {
  Positions found;
  for (size_t i = 0; i < tokens.words.size(); ++i)
    if (tokens.words[i] != PromptTokens::padding) found.push_back(int64_t(i));
  return found;
}

std::vector<int64_t> ids_at(const PromptTokens& tokens, const Positions& positions) {
  std::vector<int64_t> ids;
  for (const int64_t i : positions) ids.push_back(tokens.ids[size_t(i)]);
  return ids;
}

/// The n-th of `edit` takes the n-th of `source`, beyond these the last.
void link(TokenMap& map, const Positions& source, const Positions& edit) {
  for (size_t n = 0; n < edit.size() && !source.empty(); ++n)
    map.matrix[source[std::min(n, source.size() - 1)]][edit[n]].fill_(1);
}

}  // namespace

int64_t word_count(const PromptTokens& tokens) {
  return std::max<int64_t>(0, *std::max_element(tokens.words.begin(), tokens.words.end()) + 1);
}

TokenMap replace_map(const PromptPair& pair) {
  const auto source = words_of(pair.source), edit = words_of(pair.edit);
  if (source.size() != edit.size())
    throw UsageError("p2p: got prompts of " + std::to_string(source.size()) + " and " +
                     std::to_string(edit.size()) +
                     " words, expected as many in both to replace words. Use mode=refine.");
  TokenMap map = empty_map(pair);
  for (size_t word = 0; word < edit.size(); ++word) {
    if (source[word].size() == edit[word].size()) {
      link(map, source[word], edit[word]);
      continue;
    }
    for (const int64_t from : source[word])
      for (const int64_t to : edit[word])
        map.matrix[from][to].fill_(1.0 / double(edit[word].size()));
  }
  for (const bool padding : {false, true})
    link(map, others_of(pair.source, padding), others_of(pair.edit, padding));
  return map;
}

TokenMap refine_map(const PromptPair& pair) {
  TokenMap map = empty_map(pair);
  const Positions source = contents_of(pair.source), edit = contents_of(pair.edit);
  const auto partners = aligned(ids_at(pair.source, source), ids_at(pair.edit, edit));
  for (size_t n = 0; n < edit.size(); ++n) {
    if (partners[n] >= 0)
      map.matrix[source[size_t(partners[n])]][edit[n]].fill_(1);
    else
      map.taken[edit[n]].fill_(0);
  }
  const Positions padding = others_of(pair.edit, true);
  link(map, padding, padding);
  return map;
}

std::vector<int64_t> aligned(const std::vector<int64_t>& x, const std::vector<int64_t>& y) {
  const size_t width = y.size() + 1;
  std::vector<int> best((x.size() + 1) * width, 0);
  const auto at = [&](size_t i, size_t j) -> int& { return best[i * width + j]; };
  for (size_t i = 1; i <= x.size(); ++i)
    for (size_t j = 1; j <= y.size(); ++j)
      at(i, j) = std::max(
          {at(i, j - 1), at(i - 1, j), at(i - 1, j - 1) + (x[i - 1] == y[j - 1] ? 1 : -1)});
  std::vector<int64_t> partners(y.size(), -1);
  for (size_t i = x.size(), j = y.size(); i > 0 && j > 0;) {
    if (at(i, j) == at(i, j - 1)) {
      --j;
    } else if (at(i, j) == at(i - 1, j)) {
      --i;
    } else {
      partners[--j] = int64_t(--i);
    }
  }
  return partners;
}

}  // namespace tiller
