#include "io/progress.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

namespace tiller {
namespace {

std::string written(const std::function<void()>& work) {
  testing::internal::CaptureStderr();
  work();
  return testing::internal::GetCapturedStderr();
}

TEST(Progress, PrintsFirstAndLastLineWhereThereIsNoTerminal) {
  const std::string text = written([] {
    Progress progress("sampling", 1000, "images", 200);
    for (int i = 0; i < 800; ++i) progress.advance(1, "loss 0.031");
    progress.finish();
    progress.finish();
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_EQ(text.find("sampling 200/1000\n"), 0u) << text;
  EXPECT_NE(text.find("sampling 1000/1000 | "), std::string::npos) << text;
  EXPECT_NE(text.find("images/s"), std::string::npos) << text;
  EXPECT_NE(text.find("| loss 0.031\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos) << text;
}

TEST(Progress, EndsItsLineWhenItIsDestroyed) {
  const std::string text = written([] { Progress("work", 0, "steps").advance(0); });
  EXPECT_EQ(text.back(), '\n');
}

TEST(Progress, IsSilentWhenQuiet) {
  Progress::set_quiet(true);
  const std::string text = written([] { Progress("work", 5, "steps").advance(5); });
  Progress::set_quiet(false);
  EXPECT_EQ(text, "");
}

TEST(Progress, DrawsABarOnATerminal) {
  int ours = -1, theirs = -1;
  winsize size{.ws_row = 24, .ws_col = 60, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&ours, &theirs, nullptr, nullptr, &size), 0);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(theirs, STDERR_FILENO);
  {
    Progress progress("training", 4, "steps");
    progress.advance(2, std::string(200, 'x'));
  }
  ::dup2(saved, STDERR_FILENO);
  ::close(theirs);  // so that reading ends
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = ::read(ours, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(count));
  for (const int descriptor : {ours, saved}) ::close(descriptor);
  EXPECT_NE(text.find("\rtraining [------------------------] 0/4"), std::string::npos) << text;
  EXPECT_NE(text.find("[############------------] 2/4"), std::string::npos) << text;
  EXPECT_EQ(text.find(std::string(60, 'x')), std::string::npos);
}

TEST(Progress, EndsWholeThoughNotAllWasCounted) {
  testing::internal::CaptureStderr();
  Progress progress("drawing", 5, "steps");
  progress.advance(3);
  progress.tell("almost");
  progress.complete();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("drawing 3/5"), said.npos) << said;
  EXPECT_NE(said.find("| almost\n"), said.npos) << said;
  EXPECT_NE(said.find("drawing 5/5"), said.npos) << said;
}

}  // namespace
}  // namespace tiller
