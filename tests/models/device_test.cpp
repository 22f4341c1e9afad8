#include "models/device.h"

#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller::test {
namespace {

template <typename Failure>
std::string device_message(const std::string& name) {
  try {
    choose_device(name);
  } catch (const Failure& error) {
    return error.what();
  }
  return "";
}

TEST(Device, CpuIsAlwaysThere) { EXPECT_EQ(choose_device("cpu"), at::Device(at::kCPU)); }

TEST(Device, AutoIsTheGpuWhereThereIsOne) {
  EXPECT_EQ(choose_device("auto").is_cuda(), cuda_available());
}

TEST(Device, RefusesOtherNames) {
  for (const std::string name :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU", "cpu:0"})
    EXPECT_NE(device_message<UsageError>(name).find("'" + name + "'"), std::string::npos) << name;
  EXPECT_NE(device_message<UsageError>("cudo").find("Did you mean 'cuda'?"), std::string::npos);
}

TEST(Device, SaysWhyAGpuIsNotThere) {
  EXPECT_NE(device_message<Error>("cuda:99").find("'cuda:99'"), std::string::npos);
  if (cuda_available()) GTEST_SKIP() << "there is a GPU";
  const std::string message = device_message<Error>("cuda");
  EXPECT_NE(message.find(cuda_problem()), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_FALSE(cuda_kernels_problem().empty());
}

TEST(Device, TellsWhereAGpuDoesLessThanItCould) {
  EXPECT_EQ(device_note("cpu", at::kCPU), "");
  if (cuda_available())
    EXPECT_EQ(device_note("auto", at::kCUDA).empty(), cuda_kernels_problem().empty());
  else
    EXPECT_NE(device_note("cuda", at::kCUDA).find(cuda_kernels_problem()), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
