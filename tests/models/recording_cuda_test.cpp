#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/recording.h"

namespace tiller::test {
namespace {

using at::Tensor;

at::Device gpu() { return {at::kCUDA, 0}; }

bool holds(const Tensor& x, double value) { return (x == value).all().item<bool>(); }

TEST(Recording, ThereIsNoneOnACpu) { EXPECT_FALSE(graph_recorder(at::kCPU)); }

TEST(RecordingCuda, ReplaysReadWhatTheirTensorsHold) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Recorder recorder = graph_recorder(gpu());
  const Tensor x = at::ones({1000}, gpu());
  Tensor y;
  const Replay replay = recorder([&] { y = x * 2; });
  for (const double value : {3., 5.}) {
    x.fill_(value);
    replay();
    EXPECT_TRUE(holds(y, 2 * value)) << value;
  }
}

/// What asks the host can't be recorded; LibTorch's allocator and the next recording don't notice.
TEST(RecordingCuda, AFailedOneLeavesNothingBehind) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Recorder recorder = graph_recorder(gpu());
  const Tensor x = at::ones({1000}, gpu());
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(recorder([&] { (x + 1).sum().item<float>(); }), c10::Error);
    const Tensor large = at::full({1 << 22}, 2, at::TensorOptions(gpu()).dtype(at::kFloat));
    EXPECT_EQ(large.sum().item<float>(), float(1 << 23));
  }
  Tensor y;
  const Replay replay = recorder([&] { y = x + 1; });
  replay();
  EXPECT_TRUE(holds(y, 2));
}

/// They share a pool of memory: what one of them answered stays while the other is replayed.
TEST(RecordingCuda, TwoOfOnePoolTakeTurns) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Recorder recorder = graph_recorder(gpu());
  const Tensor x = at::ones({100'000}, gpu());
  Tensor a, b;
  Replay first = recorder([&] { a = (x * 2 + 1) * 3; });
  const Replay second = recorder([&] { b = (x * 5 - 1) * 7; });
  for (const double value : {1., 2., 3.}) {
    x.fill_(value);
    first();
    second();
    EXPECT_TRUE(holds(a, (2 * value + 1) * 3)) << value;
    EXPECT_TRUE(holds(b, (5 * value - 1) * 7)) << value;
  }
  first = Replay();
  a = Tensor();
  x.fill_(4);
  second();
  EXPECT_TRUE(holds(b, 19 * 7));
}

}  // namespace
}  // namespace tiller::test
