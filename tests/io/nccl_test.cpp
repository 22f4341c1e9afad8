#include "io/nccl.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/two_processes.h"

namespace tiller::test {
namespace {

/// Whether both processes, on GPUs of these names, agree on NCCL.
std::optional<bool> agree(const std::string& first, const std::string& second) {
  const auto answers = in_two_processes([&](ProcessGroup& group) {
    return std::optional(each_has_its_own(group, group.first() ? first : second));
  });
  if (answers.empty()) return {};
  EXPECT_EQ(answers[0], answers[1]);
  return answers[0];
}

TEST(NcclTest, EachNeedsAGpuOfItsOwn) {
  if (!agree("", "")) GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(agree("here 3b:00", "here 5e:00"), true);
  EXPECT_EQ(agree("here 3b:00", "there 3b:00"), true);
  EXPECT_EQ(agree("here 3b:00", "here 3b:00"), false);
  EXPECT_EQ(agree("here 3b:00", ""), false);
  EXPECT_EQ(agree("", "here 3b:00"), false);
  EXPECT_EQ(agree("", ""), false);
}

TEST(NcclTest, IsNotForTheCpu) {
  EXPECT_EQ(nccl_gpu(at::kCPU), "");
  const auto sums = in_two_processes([](ProcessGroup& group) {
    EXPECT_FALSE(group.connect_gpus(at::kCPU));
    Tensor sum = at::full({2}, group.rank() + 1.0);
    group.sum(sum);
    return sum;
  });
  if (sums.empty()) GTEST_SKIP() << "without Gloo";
  for (const auto& sum : sums) EXPECT_TRUE(at::equal(sum, at::full({2}, 3.0)));
  ProcessGroup alone(Processes({}));
  EXPECT_FALSE(alone.connect_gpus(at::kCPU));
}

TEST(NcclTest, CanBeSwitchedOff) {
  setenv("TILLER_NCCL", "off", 1);
  EXPECT_EQ(nccl_gpu(at::kCPU), "");
  setenv("TILLER_NCCL", "of", 1);
  EXPECT_THROW(nccl_gpu(at::kCPU), UsageError);
  unsetenv("TILLER_NCCL");
}

std::string said_of(const std::string& problem) {
  try {
    translate_lost_process([&] { throw std::runtime_error(problem); });
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(NcclTest, ALostProcessIsToldInOneLine) {
  EXPECT_EQ(said_of("NCCL error in: x.cpp:1, remote process exited\nLast error:\n"),
            "launch: another process is gone, or can't be reached (NCCL error in: x.cpp:1, remote "
            "process exited). Start all again: what has been saved is kept. TILLER_NCCL=off does "
            "without NCCL.");
  EXPECT_EQ(said_of("[x.cpp] Connection closed by peer"),
            "launch: another process is gone, or can't be reached ([x.cpp] Connection closed by "
            "peer). Start all again: what has been saved is kept.");
  EXPECT_EQ(said_of("out of memory"), "out of memory");
}

}  // namespace
}  // namespace tiller::test
