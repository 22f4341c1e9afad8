#include "io/error.h"

#include <gtest/gtest.h>

namespace tiller::test {
namespace {

TEST(Printable, KeepsTextAndDropsWhatControlsATerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\nc\x7f"), "a?[31mb?c?");
  EXPECT_EQ(printable("caf\u00e9 \u732b \U0001f408"), "caf\u00e9 \u732b \U0001f408");
  EXPECT_EQ(printable("\u009b31m"), "??31m");
  EXPECT_EQ(printable("\u00a0"), "\u00a0");
}

TEST(Printable, DropsWhatIsntUtf8) {
  EXPECT_EQ(printable("a\xff\xc3"), "a??");
  EXPECT_EQ(printable("\xc0\xaf"), "??");            // longer than it must be
  EXPECT_EQ(printable("\xed\xa0\x80"), "???");       // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "????");  // beyond Unicode
}

TEST(Printable, ShortensBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("ab\u732b", 4), "ab...");
  EXPECT_EQ(printable("abc", 3), "abc");
}

TEST(Printable, LinesMayStay) {
  EXPECT_EQ(printable_lines("a\tb\n\x1b[2Jc\n"), "a\tb\n?[2Jc\n");
  EXPECT_EQ(printable_lines(""), "");
}

}  // namespace
}  // namespace tiller::test
