#include "io/process_group.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/tensor_bytes.h"
#include "tests/two_processes.h"

namespace tiller::test {
namespace {

std::vector<Tensor> mixed() {
  return {at::tensor({1.5, -0.0, 3e300}, at::kDouble).reshape({3, 1}),
          at::arange(6, at::kByte).reshape({2, 3}).t(),
          {},
          at::tensor({-7, 8}, at::kLong),
          at::full({}, -2.5, at::kHalf),
          at::empty({0, 4}, at::kFloat),
          at::tensor({1, 0}, at::kLong).to(at::kBool)};
}

void expect_same(const std::vector<Tensor>& got, const std::vector<Tensor>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].defined(), expected[i].defined()) << i;
    if (!got[i].defined()) continue;
    EXPECT_EQ(got[i].scalar_type(), expected[i].scalar_type()) << i;
    EXPECT_TRUE(at::equal(got[i], expected[i])) << i;
  }
}

TEST(TensorBytes, BringTensorsBack) {
  expect_same(unpacked(packed(mixed())), mixed());
  expect_same(unpacked(packed({})), {});
  const Tensor zero = unpacked(packed(mixed())).front()[1];
  EXPECT_TRUE(std::signbit(zero.item<double>())) << "to the bit";
}

TEST(TensorBytes, RefuseAPart) {
  const Tensor bytes = packed(mixed());
  EXPECT_NO_THROW(unpacked(at::cat({bytes, at::zeros({100}, at::kByte)})));
  EXPECT_THROW(unpacked(bytes.narrow(0, 0, 80)), Error);
  EXPECT_THROW(unpacked(bytes.narrow(0, 0, 8)), Error);
}

/// The second process gives another number of tensors, of other sizes.
std::vector<Tensor> own_of(int rank) {
  return rank ? std::vector<Tensor>{at::arange(1000, at::kFloat)} : mixed();
}

TEST(ProcessGroupTest, GathersWhatEachGives) {
  const auto heard = in_two_processes([](ProcessGroup& group) {
    group.gather({});
    return group.gather(own_of(group.rank()), 5);
  });
  if (heard.empty()) GTEST_SKIP() << "without Gloo";
  for (const auto& all : heard) {
    ASSERT_EQ(all.size(), 2u);
    for (int rank = 0; rank < 2; ++rank) expect_same(all[size_t(rank)], own_of(rank));
  }
}

TEST(ProcessGroupTest, GathersAtTheFirst) {
  const auto heard = in_two_processes(
      [](ProcessGroup& group) { return group.gather_at_first(own_of(group.rank())); });
  if (heard.empty()) GTEST_SKIP() << "without Gloo";
  ASSERT_EQ(heard[0].size(), 2u);
  for (int rank = 0; rank < 2; ++rank) expect_same(heard[0][size_t(rank)], own_of(rank));
  EXPECT_TRUE(heard[1].empty());
}

TEST(ProcessGroupTest, ThoseThatDisagreeStop) {
  const auto said = in_two_processes([](ProcessGroup& group) -> std::string {
    try {
      group.gather({}, group.rank());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  });
  if (said.empty()) GTEST_SKIP() << "without Gloo";
  for (const auto& text : said)
    EXPECT_NE(text.find("process 1 computes otherwise than the first"), std::string::npos) << text;
}

TEST(ProcessGroupTest, OneHearsItself) {
  ProcessGroup alone(Processes({}));
  const auto heard = alone.gather(mixed());
  ASSERT_EQ(heard.size(), 1u);
  expect_same(heard[0], mixed());
  EXPECT_EQ(alone.gather_at_first(mixed()).size(), 1u);
}

}  // namespace
}  // namespace tiller::test
