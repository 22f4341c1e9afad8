#include "metrics/reference_statistics.h"

#include <unistd.h>

#include "io/error.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

const fs::path folder = fs::path(TILLER_FIXTURES) / "numpy_files";

/// A file of these arrays, until it goes out of scope.
struct Written {
  fs::path path =
      fs::path(testing::TempDir()) / ("statistics_" + std::to_string(::getpid()) + ".npz");
  explicit Written(const NamedTensors& tensors) { save_npz(path, tensors); }
  ~Written() { fs::remove(path); }
};

std::string refusal(const NamedTensors& tensors) {
  const Written file(tensors);
  try {
    load_reference_statistics(file.path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ReferenceStatistics, ReadsPytorchFids) {
  const auto statistics = load_reference_statistics(folder / "pytorch_fid.npz");
  ASSERT_TRUE(statistics.pool);
  EXPECT_EQ(statistics.pool->count, 0);
  EXPECT_TRUE(at::equal(statistics.pool->mean, tensor_from({0, 0.25, 0.5})));
  EXPECT_TRUE(at::equal(statistics.pool->covariance, at::diag(tensor_from({1, 2, 3}))));
  EXPECT_FALSE(statistics.spatial);
  EXPECT_FALSE(statistics.images);
}

TEST(ReferenceStatistics, ReadsGuidedDiffusions) {
  const auto statistics = load_reference_statistics(folder / "guided_diffusion.npz");
  ASSERT_TRUE(statistics.pool && statistics.spatial);
  EXPECT_EQ(statistics.pool->mean.scalar_type(), at::kDouble);
  EXPECT_EQ(statistics.pool->width(), 2);
  EXPECT_EQ(statistics.spatial->covariance.item<double>(), 4);
  EXPECT_TRUE(statistics.images);
}

TEST(ReferenceStatistics, WritesWhatItReads) {
  const Moments moments = moments_of(real_features());
  const Written file({});
  save_reference_statistics(file.path, moments);
  const auto read = load_reference_statistics(file.path).pool;
  ASSERT_TRUE(read);
  EXPECT_EQ(read->count, 150);
  EXPECT_TRUE(at::equal(read->mean, moments.mean));
  EXPECT_TRUE(at::equal(read->covariance, moments.covariance));
}

TEST(ReferenceStatistics, RefusesWithAReason) {
  const Tensor mean = at::zeros({3}), covariance = at::eye(3);
  EXPECT_NE(refusal({}).find("no arrays"), std::string::npos);
  EXPECT_NE(refusal({{"x", mean}}).find("the array x"), std::string::npos);
  EXPECT_NE(refusal({{"mu", mean}}).find("expected both"), std::string::npos);
  EXPECT_NE(refusal({{"mu", mean}, {"sigma", at::eye(4)}}).find("[3, 3]"), std::string::npos);
  EXPECT_NE(refusal({{"mu", at::zeros({3}, at::kLong)}, {"sigma", covariance}}).find("[width]"),
            std::string::npos);
  EXPECT_NE(refusal({{"mu", mean + std::nan("")}, {"sigma", covariance}}).find("NaN"),
            std::string::npos);
  EXPECT_THROW(load_reference_statistics(folder / "objects.npz"), Error);
}

TEST(ReferenceImages, ComeInBatchesWithChannelsFirst) {
  const Tensor all = load_numpy(folder / "images.npz").at("arr_0").permute({0, 3, 1, 2});
  ReferenceImages images(folder / "images.npz");
  EXPECT_EQ(images.count(), 5);
  EXPECT_EQ(images.height(), 2);
  EXPECT_EQ(images.width(), 4);
  EXPECT_TRUE(at::equal(images.next(3), all.slice(0, 0, 3)));
  EXPECT_TRUE(at::equal(images.next(3), all.slice(0, 3)));
  EXPECT_EQ(images.next(3).size(0), 0);
}

TEST(ReferenceImages, RefuseWhatIsNone) {
  EXPECT_THROW(ReferenceImages(folder / "pytorch_fid.npz"), Error);
  const Written grey({{"arr_0", at::zeros({2, 4, 4, 1}, at::kByte)}});
  EXPECT_THROW(ReferenceImages{grey.path}, Error);
  const Written floats({{"arr_0", at::zeros({2, 4, 4, 3})}});
  EXPECT_THROW(ReferenceImages{floats.path}, Error);
}

}  // namespace
}  // namespace tiller::test
