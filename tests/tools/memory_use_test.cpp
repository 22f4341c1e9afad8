#include "tools/memory_use.h"

#include <gtest/gtest.h>

#include <vector>

namespace tiller {
namespace {

TEST(MemoryUse, PeakFollowsWhatIsHeld) {
  constexpr int64_t kSize = 64 << 20;
  reset_peak_memory();
  const int64_t before = peak_memory();
  {
    const std::vector<char> held(kSize, 1);
    EXPECT_GE(peak_memory() - before, kSize / 2) << held[kSize - 1];
  }
  reset_peak_memory();
  EXPECT_LT(peak_memory() - before, kSize / 2);
}

}  // namespace
}  // namespace tiller
