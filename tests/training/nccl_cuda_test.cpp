#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/DeviceGuard.h>
#include <gtest/gtest.h>

#include "io/nccl.h"
#include "models/device.h"
#include "tests/two_processes.h"
#include "training/training_group.h"

namespace tiller::test {
namespace {

/// Why NCCL can't connect so many GPUs here.
std::string problem_with(int gpus) {
  if (!cuda_available()) return cuda_problem();
  if (nccl_gpu(at::Device(at::kCUDA, 0)).empty()) return "libtiller_cuda.so lacks NCCL";
  if (at::detail::getCUDAHooks().deviceCount() < gpus)
    return "fewer than " + std::to_string(gpus) + " GPUs";
  return "";
}

at::Device gpu(int index) { return at::Device(at::kCUDA, at::DeviceIndex(index)); }

TEST(NcclCuda, SumsAndBroadcasts) {
  if (const auto problem = problem_with(2); !problem.empty()) GTEST_SKIP() << problem;
  const auto results = in_two_processes([](ProcessGroup& group) {
    EXPECT_TRUE(group.connect_gpus(gpu(group.rank())));
    const double own = group.rank() + 1;
    Tensor sum = at::full({1000}, own, gpu(group.rank())), on_cpu = at::full({3}, own);
    group.sum(sum);
    group.sum(on_cpu);
    std::vector<Tensor> sent = {at::full({5}, own, gpu(group.rank())), at::full({2}, own)};
    group.broadcast(sent);
    return at::cat({sum.cpu(), on_cpu, sent[0].cpu(), sent[1]});
  });
  if (results.empty()) GTEST_SKIP() << "without Gloo";
  const Tensor expected = at::cat({at::full({1003}, 3.0), at::full({7}, 1.0)});
  for (const auto& result : results) EXPECT_TRUE(at::equal(result, expected));
}

/// The gradients of 2 weights after each of 3 passes; process r's are (r + 1) times the pass.
Tensor averages(TrainingGroup& group) {
  const c10::DeviceGuard guard(gpu(group.rank()));
  EXPECT_TRUE(group.connect_gpus(gpu(group.rank())));
  std::vector<Tensor> weights = {at::zeros({300, 1000}, gpu(group.rank())),
                                 at::zeros({7}, gpu(group.rank()))};
  for (auto& weight : weights) weight.requires_grad_();
  group.average_gradients_of(weights);
  std::vector<Tensor> gradients;
  for (int pass = 1; pass <= 3; ++pass) {
    for (auto& weight : weights) weight.mutable_grad() = Tensor();
    group.expect_gradients();
    Tensor loss = (weights[0].sum() + weights[1].sum()) * double(pass * (group.rank() + 1));
    loss.backward();
    Tensor behind = loss.detach();
    group.sum(behind);
    for (const auto& weight : weights) gradients.push_back(weight.grad().cpu().flatten());
  }
  return at::cat(gradients);
}

TEST(NcclCuda, AveragesGradients) {
  if (const auto problem = problem_with(2); !problem.empty()) GTEST_SKIP() << problem;
  const auto results = in_two_processes<TrainingGroup>(averages);
  if (results.empty()) GTEST_SKIP() << "without Gloo";
  const Tensor expected = at::arange(1, 4).to(at::kFloat).repeat_interleave(300007) * 1.5;
  for (const auto& result : results) EXPECT_TRUE(at::equal(result, expected));
}

TEST(NcclCuda, NoticesThatAProcessIsGone) {
  if (const auto problem = problem_with(2); !problem.empty()) GTEST_SKIP() << problem;
  std::string heard;
  const auto leave_early = [&](ProcessGroup& group) {
    EXPECT_TRUE(group.connect_gpus(gpu(group.rank())));
    if (!group.first()) throw Error("the disk is full");
    Tensor sum = at::zeros({4}, gpu(0));
    try {
      group.sum(sum);
    } catch (const Error& error) {
      heard = error.what();
      throw;
    }
    return true;
  };
  EXPECT_THROW(in_two_processes(leave_early), Error);
  EXPECT_NE(heard.find("another process is gone"), std::string::npos) << heard;
}

TEST(NcclCuda, TwoOnOneGpuGoByWayOfTheCpu) {
  if (const auto problem = problem_with(1); !problem.empty()) GTEST_SKIP() << problem;
  const auto sums = in_two_processes([](ProcessGroup& group) {
    EXPECT_FALSE(group.connect_gpus(gpu(0)));
    Tensor sum = at::full({2}, group.rank() + 1.0, gpu(0));
    group.sum(sum);
    return sum.cpu();
  });
  if (sums.empty()) GTEST_SKIP() << "without Gloo";
  for (const auto& sum : sums) EXPECT_TRUE(at::equal(sum, at::full({2}, 3.0)));
}

}  // namespace
}  // namespace tiller::test
