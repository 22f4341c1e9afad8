#pragma once
/// How tokens of an edited prompt correspond to those of its source (prompt-to-prompt,
/// arXiv 2208.01626).
#include "models/text_model.h"

namespace tiller {

/// For L tokens of each: the attention that the edit's token j gets is
/// weights[j] (taken[j] sum_i source_i matrix[i, j] + (1 - taken[j]) edit_j).
struct TokenMap {
  Tensor matrix;   ///< (L, L) float32.
  Tensor taken;    ///< (L) float32, 0 or 1.
  Tensor weights;  ///< (L) float32.
};

/// Two prompts of the same number of chunks, and what the edit's words count.
struct PromptPair {
  PromptTokens source, edit;
  std::vector<std::pair<int64_t, double>> weights;  ///< By the edit's token.
};

int64_t word_count(const PromptTokens&);

/// Word k of the edit takes the attention of word k of the source; where they have different
/// numbers of tokens, each of the edit's takes an equal share of all. Throws Error unless both have
/// as many words.
TokenMap replace_map(const PromptPair&);

/// Tokens that both prompts have in the same order keep the source's attention, the others their
/// own: the alignment of Needleman and Wunsch with match 1, mismatch -1 and gap 0.
TokenMap refine_map(const PromptPair&);

/// For each of `y` its partner in `x`, or -1, in the best alignment. Of equal ones that which
/// leaves out tokens of y, then tokens of x, from the end.
std::vector<int64_t> aligned(const std::vector<int64_t>& x, const std::vector<int64_t>& y);

}  // namespace tiller
