#include "io/processes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "io/error.h"
#include "tests/port.h"

namespace tiller {
namespace {

using namespace std::chrono_literals;

Launch launch(int rank) {
  return {.rank = rank, .world = 2, .host = "127.0.0.1", .port = test::meeting_port(0)};
}

/// What the first process hears while the second does `other`.
std::string heard(const std::function<void(Processes&)>& other,
                  std::chrono::milliseconds patience) {
  std::jthread second([&] {
    try {
      Processes processes(launch(1), patience);
      other(processes);
    } catch (const std::exception&) {
    }
  });
  Processes processes(launch(0), patience);
  processes.done("work");
  try {
    processes.wait_for_all("work");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ProcessesTest, WaitForThoseThatWork) {
  const auto slow = [](Processes& processes) {
    std::this_thread::sleep_for(1500ms);
    processes.done("work");
  };
  EXPECT_EQ(heard(slow, 500ms), "") << "its pulse shows that it works";
}

TEST(ProcessesTest, DontWaitForThoseThatGaveUp) {
  const auto fails = [](Processes&) { throw Error("the disk is full"); };
  EXPECT_NE(heard(fails, 1min).find("process 1 failed"), std::string::npos);
}

std::vector<int64_t> taken_by(Processes& processes) {
  std::vector<int64_t> pieces;
  for (int64_t piece; (piece = processes.take("work")) < 20;) pieces.push_back(piece);
  return pieces;
}

TEST(ProcessesTest, TakeEachPieceOnce) {
  std::vector<int64_t> pieces;
  std::jthread second([&] {
    Processes processes(launch(1));
    pieces = taken_by(processes);
    processes.done("all");
  });
  Processes processes(launch(0));
  const auto own = taken_by(processes);
  processes.done("all");
  processes.wait_for_all("all");
  second.join();
  pieces.insert(pieces.end(), own.begin(), own.end());
  std::sort(pieces.begin(), pieces.end());
  std::vector<int64_t> all(20);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(pieces, all);
}

TEST(ProcessesTest, OneTakesAll) {
  Processes alone({});
  EXPECT_EQ(taken_by(alone).size(), 20u);
  EXPECT_EQ(alone.take("other work"), 0);
}

}  // namespace
}  // namespace tiller
