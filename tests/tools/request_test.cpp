#include "tools/request.h"

#include <gtest/gtest.h>

#include "io/error.h"
#include "tools/recipe.h"

namespace tiller::test {
namespace {

TEST(Request, OlderRecipesLackWhatCameLater) {
  GenerateRequest request;
  request.steps = 7;
  Json json = to_json(request);
  for (const char* key : {"inversion", "rng", "parallel", "cache", "graphs", "fp8", "unet",
                          "scheduled_prompts", "soft_mask"})
    json.erase(key);
  EXPECT_EQ(to_json(request_from(json, "a.png")), to_json(request));
  json.erase("steps");
  EXPECT_THROW(request_from(json, "a.png"), Error);
}

/// README draws the first again; they were made by earlier versions.
TEST(Request, RecipesOfTheDocsAreRead) {
  const fs::path docs = fs::path(TILLER_SOURCE_DIR) / "docs";
  for (const char* picture : {"emoji.png", "emoji-held-out.png", "demo.png", "cifar10.png"})
    EXPECT_NO_THROW(read_recipe(docs / picture)) << picture;
}

}  // namespace
}  // namespace tiller::test
