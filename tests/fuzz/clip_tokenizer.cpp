#include "models/clip_tokenizer.h"

#include "io/error.h"
#include "models/prompt.h"

namespace {

using tiller::ClipTokenizer;
using tiller::ClipVocabularyTexts;

/// A vocabulary of all bytes and a few merges.
ClipTokenizer small_tokenizer() {
  ClipTokenizer clip(tiller::parse_clip_merge_list("title\nf o\nfo x</w>\nt h\nth e</w>\n", "x"));
  clip.add_placeholder("<toy>", clip.size(), 3);
  return clip;
}

void one_line(const tiller::Error& error) {
  if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

/// Any text is refused, or gives chunks of 77 ids of the vocabulary.
void encode(const std::string& text) {
  static const ClipTokenizer clip = small_tokenizer();
  try {
    const auto prompt = tiller::tokenize_weighted(clip, text);
    for (const auto& chunk : prompt.chunks) {
      if (chunk.ids.size() != 77 || chunk.weights.size() != 77) std::abort();
      for (const int64_t id : chunk.ids)
        if (id < 0 || id >= clip.size()) std::abort();
    }
    tiller::find_words(clip, prompt.chunks, text.substr(0, 8));
    tiller::tokenize_plain(clip, text);
  } catch (const tiller::Error& error) {
    one_line(error);
  }
}

void parse(const ClipVocabularyTexts& texts) {
  try {
    const ClipTokenizer clip(tiller::parse_clip_vocabulary(texts));
    clip.decode(clip.encode("The foxes' 7!"));
  } catch (const tiller::Error& error) {
    one_line(error);
  }
}

/// The text as each file of a tokenizer folder in turn, the others being sound.
void parse_as_each(const std::string& text) {
  static const std::string vocab =
      R"({"a":0,"b</w>":1,"ab</w>":2,"<|startoftext|>":3,"<|endoftext|>":4})";
  parse({"t", text});
  parse({"t", "", text, "a b</w>"});
  parse({"t", "", vocab, text});
  parse({"t", "", vocab, "a b</w>", text});
  parse({"t", "", vocab, "a b</w>", "", text});
  parse({"t", "", vocab, "a b</w>", "", "", text});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  encode(text);
  parse_as_each(text);
  try {
    const ClipTokenizer clip(tiller::parse_clip_merge_list(text, "x"));
    clip.encode(text);
  } catch (const tiller::Error& error) {
    one_line(error);
  }
  return 0;
}
