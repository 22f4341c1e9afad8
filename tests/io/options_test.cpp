#include "io/options.h"

#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller {
namespace {

const std::vector<Option> kOptions = {
    {"eta", "0", ""}, {"spacing", "", ""}, {"strict", "false", ""}};

std::string message_of(const std::string& text, const std::function<void(Options&)>& read) {
  try {
    auto options = parse_options("sampler", text, kOptions);
    read(options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Options, DefaultsAndValues) {
  const auto plain = parse_options("sampler", "", kOptions);
  EXPECT_EQ(plain.number("eta"), 0);
  EXPECT_FALSE(plain.has("spacing"));
  EXPECT_FALSE(plain.flag("strict"));
  const auto given = parse_options("sampler", "strict=true,eta=1e-1,spacing=a=b", kOptions);
  EXPECT_EQ(given.number("eta"), 0.1);
  EXPECT_EQ(given.text("spacing"), "a=b");
  EXPECT_TRUE(given.flag("strict"));
}

TEST(Options, RefusesWhatIsNotAnOption) {
  const auto nothing = [](Options&) {};
  EXPECT_NE(message_of("etta=1", nothing).find("Did you mean 'eta'?"), std::string::npos);
  for (const std::string text :
       {"eta", "eta=", "=1", "eta=1,eta=1", ",eta=1", "eta=1,,strict=true"})
    EXPECT_NE(message_of(text, nothing), "") << text;
}

TEST(Options, RefusesWrongValues) {
  const auto number = [](Options& options) { options.number("eta", 0, 1); };
  for (const std::string value : {"x", "1x", " 1", "1.5", "-0.1", "nan", "inf", "1e999"})
    EXPECT_NE(message_of("eta=" + value, number), "") << value;
  EXPECT_EQ(message_of("eta=2", number), "eta: got '2', expected a number from 0 to 1.");
  EXPECT_NE(message_of("eta=1.5", [](Options& o) { o.integer("eta"); }), "");
  EXPECT_NE(message_of("strict=yes", [](Options& o) { o.flag("strict"); }), "");
}

}  // namespace
}  // namespace tiller
