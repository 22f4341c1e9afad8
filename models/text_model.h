#pragma once
#include <map>

#include "models/clip_text.h"
#include "models/prompt.h"

namespace tiller {

/// A tokenizer and the encoder that reads its tokens.
struct TextTower {
  std::string part;  ///< "text_encoder" or "text_encoder_2".
  ClipTokenizer tokenizer;
  ClipText encoder;
  NamedTensors parameters;  ///< The encoder's tensors.
  Tensor extra;             ///< (n, D) rows of textual inversions; undefined: none.
};

/// How prompts become conditioning.
struct PromptOptions {
  bool plain = false;     ///< As diffusers reads them: no weights, one chunk of 77 tokens.
  int64_t clip_skip = 0;  ///< Layers left out at the encoders' end.
};

/// What a text-to-image network reads of one prompt.
struct PromptStates {
  Tensor context;  ///< (1, 77 n, D) for n chunks.
  Tensor pooled;   ///< (1, P) of the first chunk (SDXL); undefined elsewhere.
};

/// The text encoders of a text-to-image model: CLIP-L or OpenCLIP-H (SD1, SD2), both CLIP-L and
/// OpenCLIP-bigG (SDXL) or bigG alone (SDXL's refiner).
struct TextModel {
  std::vector<TextTower> towers;
  bool xl = false;            ///< Reads the last layer but one, without norm, and the pooled state.
  bool zero_negative = true;  ///< SDXL: a negative prompt that isn't given is all zeros.
  at::Device device = at::kCPU;
};

/// `length`: chunks to fill up to with empty ones; branches of one batch need the same number.
PromptStates encode_prompt(const TextModel&, const std::string& prompt, const PromptOptions&,
                           int64_t length = 1);

/// Chunks that a prompt takes.
int64_t chunks_of(const TextModel&, const std::string& prompt, const PromptOptions&);

/// Where the tokens of a word ("fox", "red fox") stand in the context of a prompt, at each of its
/// occurrences, ascending. Empty when the prompt hasn't got it.
std::vector<int64_t> word_positions(const TextModel&, const std::string& prompt,
                                    const PromptOptions&, const std::string& word);

/// A prompt's tokens as they stand in its context.
struct PromptTokens {
  static constexpr int64_t edge = -1, padding = -2;
  std::vector<int64_t> ids;    ///< 77 n for n chunks.
  std::vector<int64_t> words;  ///< The word that each belongs to, from 0; `edge`: begin or end.
};
/// `length`: chunks to fill up to, as encode_prompt does.
PromptTokens prompt_tokens(const TextModel&, const std::string& prompt, const PromptOptions&,
                           int64_t length = 1);

/// States of the same shape without content.
PromptStates zeros_like(const PromptStates&);

}  // namespace tiller
