#include "tools/behind.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace tiller::test {
namespace {

void wait_a_little() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

TEST(Behind, PiecesRunOneAfterTheOther) {
  std::string order;
  Behind behind;
  for (const char piece : {'a', 'b', 'c'})
    behind.run([&order, piece] {
      wait_a_little();
      order += piece;
    });
  behind.finish();
  EXPECT_EQ(order, "abc");
}

TEST(Behind, WhatAPieceThrowsReachesTheNextCall) {
  Behind behind;
  behind.run([] { throw std::runtime_error("full"); });
  EXPECT_THROW(behind.run([] {}), std::runtime_error);
  behind.run([] { throw std::runtime_error("full"); });
  EXPECT_THROW(behind.finish(), std::runtime_error);
  behind.finish();
}

TEST(Behind, TheEndWaits) {
  std::atomic<bool> done = false;
  {
    Behind behind;
    behind.run([&] {
      wait_a_little();
      done = true;
    });
  }
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace tiller::test
