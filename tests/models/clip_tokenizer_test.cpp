#include "models/clip_tokenizer.h"

#include <zlib.h>

#include "io/error.h"
#include "tests/fixture.h"

namespace tiller {
namespace {

using test::fixture;
using test::Json;
using Ids = std::vector<int64_t>;

fs::path folder(const std::string& form) {
  return fs::path(TILLER_FIXTURES) / "clip_tokenizer" / form;
}

ClipTokenizer tokenizer(const std::string& form = "vocab") {
  return ClipTokenizer(read_clip_vocabulary(folder(form)));
}

std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ClipTokenizer, GivesTransformersIdsInBothForms) {
  const Json cases = fixture("clip_tokens.json");
  for (const std::string form : {"vocab", "json"}) {
    const ClipTokenizer clip = tokenizer(form);
    EXPECT_EQ(clip.pad(), cases[form]["pad"]);
    for (size_t i = 0; i < cases[form]["lines"].size(); ++i) {
      const std::string line = cases[form]["lines"][i];
      EXPECT_EQ(clip.encode(line), cases[form]["ids"][i].get<Ids>()) << form << ": " << line;
    }
  }
}

TEST(ClipTokenizer, DecodesAsTransformersDoes) {
  const Json cases = fixture("clip_tokens.json")["vocab"];
  const ClipTokenizer clip = tokenizer();
  for (size_t i = 0; i < cases["prompts"].size(); ++i)
    EXPECT_EQ(clip.decode(clip.encode(cases["prompts"][i].get<std::string>())),
              cases["decoded"][i]);
}

/// CLIP's own file has the merges alone: the ids of the byte names follow from their order.
TEST(ClipTokenizer, ReadsClipsMergeListPackedOrNot) {
  const fs::path path = fs::temp_directory_path() / "tiller_merges.txt.gz";
  const std::string text = read_file(folder("vocab") / "merges.txt");
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  const ClipTokenizer expected = tokenizer();
  for (const fs::path& source : {path, folder("vocab") / "merges.txt"}) {
    const ClipTokenizer clip(read_clip_vocabulary(source));
    const std::string line = "The foxes' <|endoftext|> prompt! \xF0\x9F\xA6\x8A";
    EXPECT_EQ(clip.encode(line), expected.encode(line));
    EXPECT_EQ(clip.end(), expected.end());
    EXPECT_EQ(clip.pad(), expected.end());
  }
  EXPECT_EQ(ClipTokenizer(read_clip_vocabulary(path, "!")).pad(), 0);
  EXPECT_EQ(ClipTokenizer(read_clip_vocabulary(path, "!")).encode("fox!"),
            tokenizer("json").encode("fox!"));
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_NE(error_of([&] { read_clip_vocabulary(path); }).find("cut off"), std::string::npos);
  fs::remove(path);
}

TEST(ClipTokenizer, RefusesTextThatIsNotUtf8) {
  const ClipTokenizer clip = tokenizer();
  for (const std::string bytes :
       {"a\xff", "a\xc3", "a\xed\xa0\x80", "a\xc0\x80", "a\xf4\x90\x80\x80"})
    EXPECT_NE(error_of([&] { clip.encode(bytes); }).find("at position 1, expected UTF-8"),
              std::string::npos)
        << bytes;
}

TEST(ClipTokenizer, LongWordsTakeLittleTime) {
  const std::string word(300000, 'a');
  EXPECT_EQ(tokenizer().decode(tokenizer().encode(word)), word);
}

TEST(ClipTokenizer, PlaceholdersStandForSeveralIds) {
  ClipTokenizer clip = tokenizer();
  const int64_t first = clip.size();
  clip.add_placeholder("EasyNegative", first, 3);
  clip.add_placeholder("<cat-toy>", first + 3, 1);
  const Ids vectors = {first, first + 1, first + 2};
  EXPECT_EQ(clip.encode("easynegative"), vectors);
  EXPECT_EQ(clip.count(first), 3);
  EXPECT_EQ(clip.count(first + 1), 1);
  EXPECT_EQ(clip.encode("<Cat-Toy>"), Ids{first + 3});
  EXPECT_EQ(clip.encode("a <cat-toy>, b").at(1), first + 3);
  EXPECT_EQ(clip.encode("easynegativev"), tokenizer().encode("easynegativev"));
  EXPECT_EQ(clip.encode("uneasynegative"), tokenizer().encode("uneasynegative"));
  EXPECT_NE(error_of([&] { clip.add_placeholder("easynegative", first + 4, 1); }).find("taken"),
            std::string::npos);
}

struct BadVocabulary {
  ClipVocabularyTexts texts;
  std::string expected;
};

TEST(ClipTokenizer, NamesWhatIsWrongWithItsFiles) {
  const std::string vocab = R"({"a":0,"b</w>":1,"ab</w>":2,"<|startoftext|>":3,"<|endoftext|>":4})";
  const std::vector<BadVocabulary> cases = {
      {{.file = "t", .vocab = "{", .merges = "a b</w>"}, "t/vocab.json: got text that is no JSON"},
      {{.file = "t", .vocab = R"({"a":-1})", .merges = ""}, "'a': -1, expected an id from 0"},
      {{.file = "t", .vocab = vocab, .merges = "a b c"}, "t/merges.txt: got 'a b c', expected two"},
      {{.file = "t", .vocab = vocab, .merges = "a c"},
       "a merge with 'c', which the vocabulary lacks"},
      {{.file = "t", .vocab = vocab, .config = R"({"model_max_length":1})"},
       "model_max_length: got 1"},
      {{.file = "t", .vocab = vocab, .config = R"({"pad_token":7})"}, "pad_token: got 7"},
      {{.file = "t", .tokenizer = R"({"model":{"type":"WordPiece"}})"}, "another kind"},
      {{.file = "t", .vocab = vocab, .added_tokens = R"({"x":-4})"}, "added_tokens.json: got -4"}};
  for (const auto& [texts, expected] : cases) {
    const std::string message =
        error_of([&] { ClipTokenizer unused(parse_clip_vocabulary(texts)); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  }
  EXPECT_NE(error_of([] { read_clip_vocabulary("/nowhere"); }).find("vocab.json and merges.txt"),
            std::string::npos);
}

TEST(ClipTokenizer, LengthsBeyondAllReasonMeanTheUsualOne) {
  const std::string vocab = R"({"<|startoftext|>":0,"<|endoftext|>":1})";
  const auto length = [&](const std::string& config) {
    return parse_clip_vocabulary({.file = "t", .vocab = vocab, .config = config}).max_length;
  };
  EXPECT_EQ(length(R"({"model_max_length":1000000000000000019884624838656})"), 77);
  EXPECT_EQ(length(R"({"model_max_length":32})"), 32);
  EXPECT_EQ(length("{}"), 77);
}

}  // namespace
}  // namespace tiller
