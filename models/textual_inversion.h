#pragma once
#include "models/clip_tokenizer.h"

#include "io/tensor_file.h"

namespace tiller {

/// Vectors that a prompt can name: rows for the token embedding of a text encoder, or of SDXL's two
/// (arXiv 2208.01618).
struct TextualInversion {
  std::string token;
  Tensor vectors;    ///< (n, D) float32, n from 1 to 75.
  Tensor vectors_2;  ///< (n, D2) for SDXL's second text encoder, else undefined.
  std::string file;  ///< For messages.
};

/// Reads an embedding file, told apart by its tensors: diffusers' {token: (D) or (n, D)},
/// Automatic1111's `string_to_param` or `emb_params`, SDXL's `clip_l` and `clip_g`. The token is
/// `token`, else diffusers' key, else the file's name without its ending. Throws Error.
TextualInversion read_textual_inversion(const fs::path&, const std::string& token = "");

/// Throws Error that names both families unless the vectors are as wide as the text encoders'
/// embeddings; `width_2` is 0 where there is no second one.
void check_width(const TextualInversion&, int64_t width, int64_t width_2 = 0);

/// Which text encoder's vectors are meant.
enum class TextEncoderPart { first, second };

/// Lets the tokenizer know the tokens, with ids from `first` (the encoder's number of embeddings)
/// on, and returns the rows to append there: (sum of n, D), or undefined for an empty list. Throws
/// Error when a token is taken.
Tensor add_textual_inversions(ClipTokenizer&, const std::vector<TextualInversion>&, int64_t first,
                              TextEncoderPart = TextEncoderPart::first);

}  // namespace tiller
