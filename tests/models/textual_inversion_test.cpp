#include "models/textual_inversion.h"

#include "io/error.h"
#include "models/prompt.h"
#include "tests/fixture.h"

namespace tiller {
namespace {

TextualInversion read(const std::string& name, const std::string& token = "") {
  return read_textual_inversion(fs::path(TILLER_FIXTURES) / "textual_inversion" / name, token);
}

std::string embedding_error(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// As make_textual_inversions.py fills them.
Tensor vectors(int64_t count, int64_t width) {
  return at::arange(count).unsqueeze(1) + at::arange(width) / 100.0;
}

TEST(TextualInversion, ReadsEachForm) {
  struct Form {
    std::string file, token;
    int64_t count;
  };
  for (const Form& form :
       {Form{"diffusers.bin", "<cat-toy>", 1}, Form{"diffusers.safetensors", "<cat-toy>", 2},
        Form{"webui.pt", "webui", 3}, Form{"original.pt", "original", 3},
        Form{"webui.safetensors", "webui", 3}, Form{"sdxl.safetensors", "sdxl", 2}}) {
    const auto inversion = read(form.file);
    EXPECT_EQ(inversion.token, form.token);
    ASSERT_EQ(inversion.vectors.sizes(), at::IntArrayRef({form.count, 8})) << form.file;
    EXPECT_TRUE(at::allclose(inversion.vectors, vectors(form.count, 8), 1e-3)) << form.file;
    EXPECT_EQ(inversion.vectors_2.defined(), form.file == "sdxl.safetensors");
  }
  EXPECT_TRUE(at::allclose(read("sdxl.safetensors").vectors_2, vectors(2, 12), 1e-3));
  EXPECT_EQ(read("diffusers.bin", "mine").token, "mine");
}

TEST(TextualInversion, SaysWhatIsWrong) {
  EXPECT_NE(embedding_error([] { read("several.safetensors"); }).find("got 2 tensors"),
            std::string::npos);
  EXPECT_NE(embedding_error([] { read("unequal.safetensors"); }).find("3 in clip_g"),
            std::string::npos);
  EXPECT_NE(embedding_error([] { read("long.safetensors"); }).find("1 to 75 vectors"),
            std::string::npos);
  EXPECT_NE(embedding_error([] { read("nan.safetensors"); }).find("NaN"), std::string::npos);
}

TEST(TextualInversion, NamesTheFamiliesOfAWrongWidth) {
  TextualInversion inversion{"x", at::zeros({2, 1024}), {}, "x.pt"};
  EXPECT_NE(embedding_error([&] {
              check_width(inversion, 768);
            }).find("this embedding is SD2's 1024, the model's is SD1's 768"),
            std::string::npos);
  EXPECT_NE(embedding_error([&] { check_width(inversion, 768, 1280); }).find("SDXL's 768 and 1280"),
            std::string::npos);
  EXPECT_NO_THROW(check_width(inversion, 1024));
}

TEST(TextualInversion, RowsLieWhereTheTokensPoint) {
  ClipTokenizer clip(read_clip_vocabulary(fs::path(TILLER_FIXTURES) / "clip_tokenizer" / "vocab"));
  const int64_t first = 2000;
  const Tensor rows =
      add_textual_inversions(clip, {read("webui.pt"), read("diffusers.safetensors")}, first);
  ASSERT_EQ(rows.sizes(), at::IntArrayRef({5, 8}));
  const auto ids = tokenize_weighted(clip, "<cat-toy>, (WebUI:1.2)").chunks.at(0).ids;
  const std::vector<int64_t> expected = {first + 3, first + 4, clip.encode(",").at(0),
                                         first,     first + 1, first + 2};
  EXPECT_EQ(std::vector<int64_t>(ids.begin() + 1, ids.begin() + 7), expected);
  EXPECT_TRUE(at::equal(rows.slice(0, 3, 5), read("diffusers.safetensors").vectors));
  EXPECT_THROW(add_textual_inversions(clip, {read("webui.safetensors")}, first + 5), Error);
  EXPECT_FALSE(add_textual_inversions(clip, {}, first).defined());
}

}  // namespace
}  // namespace tiller
