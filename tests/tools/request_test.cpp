#include "tools/request.h"

#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller::test {
namespace {

TEST(Request, OlderRecipesLackWhatCameLater) {
  GenerateRequest request;
  request.steps = 7;
  Json json = to_json(request);
  for (const char* key : {"inversion", "rng", "parallel", "cache", "graphs", "fp8"})
    json.erase(key);
  EXPECT_EQ(to_json(request_from(json, "a.png")), to_json(request));
  json.erase("steps");
  EXPECT_THROW(request_from(json, "a.png"), Error);
}

}  // namespace
}  // namespace tiller::test
