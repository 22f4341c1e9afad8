#include "training/batches.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "training/random.h"

namespace tiller::test {
namespace {

/// Image i has red value i, and 255 in the left half of its green.
Dataset numbered(int64_t count) {
  Dataset data;
  data.images = at::zeros({count, 3, 4, 4}, at::kByte);
  data.images.select(1, 0).copy_(at::arange(count).reshape({-1, 1, 1}));
  data.images.select(1, 1).narrow(2, 0, 2).fill_(255);
  data.labels = at::arange(count, at::kLong) * 10;
  return data;
}

Tensor numbers(const TrainBatch& batch) {
  return ((batch.images.select(1, 0).select(1, 0).select(1, 0) + 1) * 127.5).round().to(at::kLong);
}

std::vector<int64_t> dealt(Batches& batches, int64_t from, int64_t to) {
  std::vector<int64_t> all;
  for (int64_t step = from; step < to; ++step) {
    const TrainBatch batch = batches.at(step);
    const Tensor chosen = numbers(batch);
    EXPECT_TRUE(batch.labels.equal(chosen * 10));
    all.insert(all.end(), chosen.data_ptr<int64_t>(), chosen.data_ptr<int64_t>() + chosen.numel());
  }
  return all;
}

std::vector<int64_t> sorted(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

/// 10 images in batches of 4: an epoch ends within a batch.
TEST(Batches, DealsEachImageOnceAnEpoch) {
  const Dataset data = numbered(10);
  Batches batches(data, 4, 1, false);
  const auto all = dealt(batches, 0, 5);
  const std::vector<int64_t> first(all.begin(), all.begin() + 10),
      second(all.begin() + 10, all.end());
  const std::vector<int64_t> every = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(sorted(first), every);
  EXPECT_EQ(sorted(second), every);
  EXPECT_NE(first, every);
  EXPECT_NE(first, second);
}

TEST(Batches, ABatchMayExceedTheData) {
  const Dataset data = numbered(3);
  Batches batches(data, 7, 1, true);
  EXPECT_EQ(sorted(dealt(batches, 0, 3)),
            (std::vector<int64_t>{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2}));
}

TEST(Batches, AStepDependsOnSeedAndStepAlone) {
  const Dataset data = numbered(10);
  Batches steady(data, 4, 1, true), jumping(data, 4, 1, true), other(data, 4, 2, true);
  std::vector<Tensor> images;
  for (int64_t step = 0; step < 8; ++step) images.push_back(steady.at(step).images);
  for (const int64_t step : {7, 2, 5, 0, 5}) {
    EXPECT_TRUE(jumping.at(step).images.equal(images[step])) << step;
    EXPECT_FALSE(other.at(step).images.equal(images[step])) << step;
  }
}

TEST(Batches, MirrorsHalf) {
  const Dataset data = numbered(100);
  Batches flipping(data, 100, 1, true), plain(data, 100, 1, false);
  int64_t mirrored = 0;
  for (int64_t step = 0; step < 10; ++step) {
    const Tensor a = flipping.at(step).images, b = plain.at(step).images;
    for (int64_t i = 0; i < 100; ++i) {
      const bool flipped = !a[i].equal(b[i]);
      if (flipped) {
        EXPECT_TRUE(a[i].equal(b[i].flip(2)));
      }
      mirrored += flipped;
    }
  }
  EXPECT_NEAR(mirrored, 500, 65);  // four standard deviations
}

TEST(DropLabels, DropsTheShare) {
  const Tensor labels = at::arange(10000, at::kLong).remainder(7);
  TrainOptions options;
  options.batch = 10000;
  const Tensor coins = label_coins(options, 3, {0, 10000});
  const Tensor dropped = drop_labels(labels, coins, 0.2, 7);
  const Tensor is_null = dropped == 7;
  EXPECT_NEAR(is_null.sum().item<int64_t>(), 2000, 160);
  EXPECT_TRUE(at::where(is_null, labels, dropped).equal(labels));
  EXPECT_TRUE(drop_labels(labels, coins, 0, 7).equal(labels));
  EXPECT_TRUE((drop_labels(labels, coins, 1, 7) == 7).all().item<bool>());
  EXPECT_TRUE(label_coins(options, 3, {20, 5}).equal(coins.narrow(0, 20, 5)));
}

TEST(Batches, PartsAreTheWholeBatchs) {
  const Dataset data = numbered(20);
  Batches batches(data, 10, 1, true);
  const TrainBatch whole = batches.at(3), part = batches.at(3, {4, 3});
  EXPECT_TRUE(part.images.equal(whole.images.narrow(0, 4, 3)));
  EXPECT_TRUE(part.labels.equal(whole.labels.narrow(0, 4, 3)));
}

}  // namespace
}  // namespace tiller::test
