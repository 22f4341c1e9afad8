#include "io/json.h"

#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller::test {
namespace {

TEST(Json, PythonsInfinityIsNoNumber) {
  const auto json = parse_json_object(
      R"({"lambda_min_clipped": -Infinity, "note": "-Infinity \" NaN", "sigma_max": NaN})",
      "c.json");
  EXPECT_TRUE(json.at("lambda_min_clipped").is_null());
  EXPECT_TRUE(json.at("sigma_max").is_null());
  EXPECT_EQ(json.at("note"), "-Infinity \" NaN");
}

TEST(Json, OnlyObjectsAreConfigs) {
  for (const char* text : {"version https://git-lfs", "", "[1]", "\"a\"", "{\"a\": 1"})
    EXPECT_THROW(parse_json_object(text, "c.json"), Error) << text;
}

}  // namespace
}  // namespace tiller::test
