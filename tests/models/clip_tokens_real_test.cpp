/// Tokens beside those of transformers with the real vocabulary, which isn't committed:
/// tests/reference/compare_clip_tokens.py writes the cases and runs this.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/clip_tokenizer.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

void compare(const fs::path& file) {
  std::ifstream stream(file);
  const Json reference = Json::parse(stream);
  const std::string folder = reference["tokenizer"];
  const ClipTokenizer tokenizer(read_clip_vocabulary(folder));
  EXPECT_EQ(tokenizer.begin(), reference["begin"]) << folder;
  EXPECT_EQ(tokenizer.end(), reference["end"]) << folder;
  EXPECT_EQ(tokenizer.pad(), reference["pad"]) << folder;
  EXPECT_EQ(tokenizer.max_length(), reference["max_length"]) << folder;
  const std::vector<std::string> lines = reference["lines"];
  const std::vector<std::vector<int64_t>> expected = reference["ids"];
  std::vector<std::vector<int64_t>> ids;
  const auto start = std::chrono::steady_clock::now();
  for (const auto& line : lines) ids.push_back(tokenizer.encode(line));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  size_t different = 0;
  for (size_t i = 0; i < lines.size(); ++i)
    if (ids[i] != expected[i] && ++different <= 5)
      ADD_FAILURE() << folder << " line " << i << ": " << lines[i].substr(0, 200) << "\n"
                    << Json(ids[i]).dump() << "\n"
                    << Json(expected[i]).dump();
  EXPECT_EQ(different, 0u);
  std::cout << folder << ": " << lines.size() << " lines, " << different << " differ, "
            << seconds.count() << " s\n";
}

TEST(ClipTokensReal, EqualTransformers) {
  const char* folder = std::getenv("TILLER_CLIP_TOKENS");
  if (!folder) GTEST_SKIP() << "TILLER_CLIP_TOKENS names no folder of compare_clip_tokens.py";
  for (const auto& entry : fs::directory_iterator(folder)) compare(entry.path());
}

}  // namespace
}  // namespace tiller
