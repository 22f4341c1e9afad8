#include "metrics/pie_bench.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "io/error.h"

namespace tiller::test {
namespace {

using Json = nlohmann::json;

/// A made-up benchmark of two edits.
class PieBench : public testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("tiller-pie-" + std::to_string(getpid()));
    fs::create_directories(folder / "annotation_images" / "1_change");
    mapping = {{"001",
                {{"image_path", "1_change/001.jpg"},
                 {"original_prompt", "a [red cat] on a [mat]"},
                 {"editing_prompt", "a [blue dog] on a mat"},
                 {"editing_type_id", "1"},
                 {"blended_word", "cat dog"},
                 {"editing_instruction", "Turn the cat into a dog"},
                 {"mask", {512 * 3 + 5, 4, 512 * 512 - 2, 9}}}},
               {"000",
                {{"image_path", "000.png"},
                 {"original_prompt", ""},
                 {"editing_prompt", "a street"},
                 {"editing_type_id", 9},
                 {"blended_word", ""},
                 {"mask", Json::array()}}}};
  }
  void TearDown() override { fs::remove_all(folder); }

  std::vector<PieEdit> read() const {
    write_file(folder / "mapping_file.json", mapping.dump());
    return read_pie_bench(folder);
  }
  /// The benchmark with one value of edit 001 changed must be refused with the words.
  void expect_refused(const std::string& key, const Json& value, const std::string& words) {
    const Json before = std::exchange(mapping["001"][key], value);
    try {
      read();
      ADD_FAILURE() << key << " " << value;
    } catch (const Error& error) {
      const std::string message = error.what();
      for (const std::string& part : {std::string("mapping_file.json: 001: "), key, words})
        EXPECT_NE(message.find(part), std::string::npos) << message;
      EXPECT_LT(message.size(), 300u);
    }
    mapping["001"][key] = before;
  }

  fs::path folder;
  Json mapping;
};

TEST_F(PieBench, ReadsEditsInOrder) {
  const auto edits = read();
  ASSERT_EQ(edits.size(), 2u);
  EXPECT_EQ(edits[0].key, "000");
  EXPECT_EQ(edits[0].type, 9);
  EXPECT_TRUE(edits[0].source_words.empty());
  EXPECT_TRUE(edits[0].blended_words.empty());
  const PieEdit& edit = edits[1];
  EXPECT_EQ(edit.source, "a red cat on a mat");
  EXPECT_EQ(edit.target, "a blue dog on a mat");
  EXPECT_EQ(edit.source_words, (std::vector<std::string>{"red cat", "mat"}));
  EXPECT_EQ(edit.target_words, std::vector<std::string>{"blue dog"});
  EXPECT_EQ(edit.blended_words, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(edit.image, folder / "annotation_images" / "1_change" / "001.jpg");
  EXPECT_EQ(pie_edit_types().at(edit.type), "change object");
}

TEST_F(PieBench, FindsImagesWithoutTheirFolder) {
  write_file(folder / "000.png", "x");
  EXPECT_EQ(read()[0].image, folder / "000.png");
}

/// Rows first; the border is forced to 1; a run beyond the end is cut off.
TEST_F(PieBench, MasksAreRunsAndABorder) {
  const auto edits = read();
  const Tensor mask = pie_mask(edits[1]);
  EXPECT_EQ(mask.sizes(), at::IntArrayRef({512, 512}));
  const int64_t border = 4 * 512 - 4;
  EXPECT_EQ(mask.sum().item<double>(), border + 4);
  EXPECT_EQ(mask[3].slice(0, 5, 9).sum().item<double>(), 4);
  EXPECT_EQ(pie_mask(edits[0]).sum().item<double>(), border);
}

TEST_F(PieBench, RefusesWhatIsntAsTheFormatSays) {
  expect_refused("image_path", "../../secret.png", "below the folder");
  expect_refused("image_path", "/secret.png", "below the folder");
  expect_refused("image_path", 3, "a text");
  expect_refused("original_prompt", "a [cat", "followed by its ]");
  expect_refused("editing_prompt", "a ]cat[", "followed by its ]");
  expect_refused("editing_prompt", "a [[cat]]", "followed by its ]");
  expect_refused("editing_prompt", std::string(5000, 'a'), "at most 4096 bytes");
  expect_refused("editing_type_id", "12", "0 to 9");
  expect_refused("editing_type_id", -1, "0 to 9");
  expect_refused("mask", {1, 2, 3}, "pairs");
  expect_refused("mask", "1 2", "pairs");
  expect_refused("mask", {-1, 2}, "mask[0]");
  expect_refused("mask", {1, 1e30}, "mask[1]");
  expect_refused("mask", {1, 600 * 600}, "mask[1]");
}

TEST_F(PieBench, RefusesFilesThatHoldNoEdits) {
  mapping = Json::object();
  EXPECT_THROW(read(), Error);
  mapping = {{"000", 3}};
  EXPECT_THROW(read(), Error);
  mapping = {{"000", Json::object()}};
  EXPECT_THROW(read(), Error);
  write_file(folder / "mapping_file.json", "[1, 2");
  EXPECT_THROW(read_pie_bench(folder), Error);
  EXPECT_THROW(read_pie_bench(folder / "nowhere"), Error);
}

}  // namespace
}  // namespace tiller::test
