#include "models/residency.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "models/clip_text.h"
#include "models/device.h"

namespace tiller {
namespace {

/// Bytes of this process in memory.
int64_t resident() {
  int64_t total = 0, pages = 0;
  std::ifstream("/proc/self/statm") >> total >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

TEST(Residency, ReleasedParametersLeaveMemory) {
  const int64_t rows = 200'000, width = 64, bytes = rows * width * 4;
  Weights weights(uint64_t{1});
  const ClipText encoder({{"vocab_size", rows},
                          {"hidden_size", width},
                          {"intermediate_size", 64},
                          {"num_hidden_layers", 1}},
                         weights);
  const NamedTensors parameters = weights.finish();
  EXPECT_TRUE(encoder.encode(at::ones({1, 4}, at::kLong), 0).last.defined());
  const int64_t before = resident();
  release(parameters);
  EXPECT_GT(before - resident(), bytes * 9 / 10);
}

TEST(Residency, AMoveIsSeenByTheNetwork) {
  if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
  Weights weights(uint64_t{1});
  const Linear layer = take_linear(weights, "layer", 3, 2);
  const NamedTensors parameters = weights.finish();
  move_to(parameters, at::kCUDA);
  EXPECT_TRUE(layer.weight.is_cuda());
  EXPECT_TRUE(layer(at::ones({1, 3}, at::TensorOptions(at::kCUDA))).is_cuda());
}

}  // namespace
}  // namespace tiller
