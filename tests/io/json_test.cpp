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

TEST(Json, ABackslashBeforeAQuoteMayBeEscapedItself) {
  const auto json = parse_json_object(R"({"path": "C:\\", "sigma_max": NaN, "b": "\\\"NaN"})", "c");
  EXPECT_EQ(json.at("path"), R"(C:\)");
  EXPECT_TRUE(json.at("sigma_max").is_null());
  EXPECT_EQ(json.at("b"), R"(\"NaN)");
}

/// What copies, writes or destroys it may recurse.
TEST(Json, DeepOnesAreRefused) {
  const auto nested = [](int depth) {
    return "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_NO_THROW(parse_json_object(nested(60), "c.json"));
  EXPECT_THROW(parse_json_object(nested(100), "c.json"), Error);
  EXPECT_THROW(parse_json_object(nested(1'000'000), "c.json"), Error);
  EXPECT_TRUE(parse_json("{\"a\": ").is_discarded());
  EXPECT_EQ(parse_json<nlohmann::ordered_json>("{\"b\": 1, \"a\": 2}").dump(), "{\"b\":1,\"a\":2}");
}

}  // namespace
}  // namespace tiller::test
