#pragma once
#include <ATen/core/Tensor.h>

#include "models/clip_tokenizer.h"

namespace tiller {
using at::Tensor;

/// A stretch of a prompt with one weight, or a BREAK.
struct PromptPiece {
  std::string text;
  float weight = 1;
  bool is_break = false;
};

/// Reads Automatic1111's syntax as its `parse_prompt_attention`: `(a)` times 1.1, `(a:1.2)` times
/// 1.2, `[a]` divided by 1.1, all of them nested; `\(` and the like stand for themselves; brackets
/// that nothing closes reach to the end; ` BREAK ` ends a chunk (here inside brackets too).
/// Neighbours of one weight are one piece. Throws Error when a weight is beyond 1000.
std::vector<PromptPiece> parse_prompt(std::string_view prompt);

/// What a text encoder takes at once: begin, tokens, end and padding, with a weight each.
struct TokenChunk {
  std::vector<int64_t> ids;  ///< As many as the tokenizer's max_length, 77.
  std::vector<float> weights;
};

struct TokenizedPrompt {
  std::vector<TokenChunk> chunks;  ///< At least one.
  std::string truncated;           ///< What plain prompts lose at the end; "" when nothing.
};

/// A prompt in Automatic1111's syntax, in as many chunks of 75 tokens as it takes. Where a chunk is
/// full and its last comma is at most 20 tokens back, what follows that comma moves to the next
/// chunk; a textual inversion's vectors stay together. Throws Error when the prompt isn't UTF-8.
TokenizedPrompt tokenize_weighted(const ClipTokenizer&, std::string_view prompt);

/// A prompt word by word, as diffusers' pipelines take it: one chunk, weights of 1, the rest is cut
/// off. Throws Error when the prompt isn't UTF-8.
TokenizedPrompt tokenize_plain(const ClipTokenizer&, std::string_view prompt);

/// Appends empty chunks until there are `count`, so that a prompt and a negative one are equally
/// long.
void pad_chunks(const ClipTokenizer&, std::vector<TokenChunk>&, size_t count);

/// The chunks' ids as (chunks, 77) int64.
Tensor chunk_ids(const std::vector<TokenChunk>&);
/// The chunks' weights as (chunks, 77) float32.
Tensor chunk_weights(const std::vector<TokenChunk>&);

/// A text encoder's states (chunks, 77, D) times their weights (chunks, 77), after which each chunk
/// gets its former mean back by one factor, as Automatic1111's "Original" emphasis. Computed in
/// float32; states whose weights are all 1 come back as they were.
Tensor weighted(const Tensor& states, const Tensor& weights);

/// Tokens `begin` to `end` (excluded) of a chunk.
struct TokenSpan {
  size_t chunk, begin, end;
  bool operator==(const TokenSpan&) const = default;
};

/// Where the tokens of `words` ("fox", "red fox") stand in the chunks, in order; any case. Empty
/// when the prompt hasn't got them.
std::vector<TokenSpan> find_words(const ClipTokenizer&, const std::vector<TokenChunk>&,
                                  std::string_view words);

}  // namespace tiller
