#include "models/prompt.h"

#include "io/error.h"
#include "tests/fixture.h"

namespace tiller {
namespace {

using test::fixture;
using test::Json;
using Ids = std::vector<int64_t>;

ClipTokenizer prompt_tokenizer(const std::string& form = "vocab") {
  return ClipTokenizer(read_clip_vocabulary(fs::path(TILLER_FIXTURES) / "clip_tokenizer" / form));
}

std::string repeated(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

/// What a chunk says between begin and end.
Ids content(const ClipTokenizer& clip, const TokenChunk& chunk) {
  return {chunk.ids.begin() + 1, std::find(chunk.ids.begin() + 1, chunk.ids.end(), clip.end())};
}

TEST(Prompt, ParsesAsAutomatic1111) {
  for (const auto& entry : fixture("prompts.json")["parsed"]) {
    const std::string prompt = entry["prompt"];
    const auto pieces = parse_prompt(prompt);
    ASSERT_EQ(pieces.size(), entry["pieces"].size()) << prompt;
    for (size_t i = 0; i < pieces.size(); ++i) {
      EXPECT_EQ(pieces[i].text, entry["pieces"][i][0]) << prompt;
      EXPECT_FLOAT_EQ(pieces[i].weight, entry["pieces"][i][1].get<float>()) << prompt;
    }
  }
}

TEST(Prompt, ChunksAsAutomatic1111) {
  for (const std::string form : {"vocab", "json"}) {
    const ClipTokenizer clip = prompt_tokenizer(form);
    for (const auto& entry : fixture("prompts.json")["chunks_" + form]) {
      const std::string prompt = entry["prompt"];
      const auto chunks = tokenize_weighted(clip, prompt).chunks;
      ASSERT_EQ(chunks.size(), entry["ids"].size()) << prompt;
      for (size_t i = 0; i < chunks.size(); ++i) {
        EXPECT_EQ(chunks[i].ids, entry["ids"][i].get<Ids>()) << prompt;
        const auto weights = entry["weights"][i].get<std::vector<float>>();
        for (size_t k = 0; k < weights.size(); ++k)
          EXPECT_FLOAT_EQ(chunks[i].weights[k], weights[k]) << prompt;
      }
    }
  }
}

/// Automatic1111 makes the word "BREAK" with a negative weight of these.
TEST(Prompt, BreaksInsideBracketsToo) {
  const auto pieces = parse_prompt("(a BREAK b:1.5)");
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_TRUE(pieces[1].is_break);
  EXPECT_FLOAT_EQ(pieces[2].weight, 1.5f);
  EXPECT_EQ(tokenize_weighted(prompt_tokenizer(), "(a BREAK b:1.5)").chunks.size(), 2u);
  EXPECT_EQ(parse_prompt("a BREAKS\xC3\xA9 dayBREAK BREAK_").size(), 1u);
}

TEST(Prompt, RefusesAbsurdWeightsAndOtherEncodings) {
  EXPECT_THROW(parse_prompt("(a:1001)"), Error);
  EXPECT_THROW(parse_prompt("((a:900):900)"), Error);
  EXPECT_THROW(parse_prompt("caf\xe9"), Error);
  EXPECT_EQ(parse_prompt("(a:.)").at(0).text, "a:.");
}

TEST(Prompt, PlainPromptsAreWhatDiffusersPads) {
  for (const std::string form : {"vocab", "json"}) {
    const Json cases = fixture("clip_tokens.json")[form];
    for (size_t i = 0; i < cases["prompts"].size(); ++i) {
      const auto plain =
          tokenize_plain(prompt_tokenizer(form), cases["prompts"][i].get<std::string>());
      ASSERT_EQ(plain.chunks.size(), 1u);
      EXPECT_EQ(plain.chunks[0].ids, cases["padded"][i].get<Ids>());
      EXPECT_EQ(plain.truncated, "");
    }
  }
}

TEST(Prompt, PlainPromptsSayWhatTheyLose) {
  const ClipTokenizer clip = prompt_tokenizer();
  const auto plain = tokenize_plain(clip, repeated("! ", 75) + "RED fox");
  EXPECT_EQ(plain.truncated, "red fox");
  EXPECT_EQ(plain.chunks[0].ids.back(), clip.end());
  EXPECT_EQ(tokenize_plain(clip, repeated("! ", 75)).truncated, "");
}

TEST(Prompt, KeepsAnEmbeddingsVectorsTogether) {
  ClipTokenizer clip = prompt_tokenizer();
  const int64_t first = clip.size();
  clip.add_placeholder("toy", first, 4);
  const auto chunks = tokenize_weighted(clip, repeated("! ", 73) + "(toy:1.5) !").chunks;
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(content(clip, chunks[0]).size(), 73u);
  const Ids second = content(clip, chunks[1]);
  EXPECT_EQ(Ids(second.begin(), second.begin() + 4), Ids({first, first + 1, first + 2, first + 3}));
  EXPECT_FLOAT_EQ(chunks[1].weights[4], 1.5f);
  EXPECT_FLOAT_EQ(chunks[1].weights[5], 1);
}

TEST(Prompt, PadsToEqualLengths) {
  const ClipTokenizer clip = prompt_tokenizer();
  auto chunks = tokenize_weighted(clip, "a fox").chunks;
  pad_chunks(clip, chunks, 3);
  EXPECT_EQ(chunk_ids(chunks).sizes(), at::IntArrayRef({3, 77}));
  EXPECT_TRUE(chunk_weights(chunks).eq(1).all().item<bool>());
  EXPECT_EQ(chunk_ids(chunks)[2].max().item<int64_t>(), clip.end());
}

TEST(Prompt, FindsWordsInAnyChunk) {
  const ClipTokenizer clip = prompt_tokenizer();
  const auto chunks = tokenize_weighted(clip, "a red Fox, foxes BREAK (FOX:1.3)").chunks;
  const size_t length = clip.encode("fox").size();
  const auto spans = find_words(clip, chunks, "fox");
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[1], (TokenSpan{1, 1, 1 + length}));
  const auto red = find_words(clip, chunks, "RED fox");
  ASSERT_EQ(red.size(), 1u);
  EXPECT_EQ(red[0].end, spans[0].end);
  EXPECT_TRUE(find_words(clip, chunks, "dog").empty());
  EXPECT_TRUE(find_words(clip, chunks, " ").empty());
  // Pieces of a longer word are another word's pieces.
  const auto tail = [&](const std::string& word) {
    return find_words(clip, tokenize_weighted(clip, "qqzx").chunks, word);
  };
  EXPECT_EQ(tail("qqzx").size(), 1u);
  EXPECT_EQ(clip.encode("qqzx").back(), clip.encode("x").front());
  EXPECT_TRUE(tail("x").empty());
}

TEST(Weighted, RestoresEachChunksMean) {
  const Tensor states = at::randn({2, 77, 8}) + 0.5;
  Tensor weights = at::ones({2, 77});
  weights[0].slice(0, 3, 6).fill_(1.4);
  const Tensor result = weighted(states, weights);
  EXPECT_TRUE(at::allclose(result.mean({1, 2}), states.mean({1, 2}), 1e-5));
  EXPECT_TRUE(at::allclose(result[1], states[1]));
  const Tensor ratio = result[0] / states[0];
  EXPECT_TRUE(at::allclose(ratio[3] / ratio[0], at::full({8}, 1.4), 1e-4));
}

TEST(Weighted, LeavesWeightsOfOneAlone) {
  const Tensor states = at::randn({1, 77, 8}).to(at::kHalf);
  EXPECT_TRUE(at::equal(weighted(states, at::ones({1, 77})), states));
  EXPECT_TRUE(weighted(at::zeros({1, 77, 8}), at::full({1, 77}, 2.0)).eq(0).all().item<bool>());
}

}  // namespace
}  // namespace tiller
