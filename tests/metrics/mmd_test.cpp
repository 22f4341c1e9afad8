#include "metrics/mmd.h"

#include "io/error.h"
#include "metrics/vendi.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

TEST(ClipMmd, EqualsTheFormula) {
  const double got = clip_mmd(fake_features(), real_features());
  EXPECT_NEAR(got, metrics_reference().at("cmmd"), 1e-10);
  EXPECT_NEAR(clip_mmd(fake_features() * 7, real_features()), got, 1e-12);
}

TEST(ClipMmd, IsZeroForTheSame) {
  EXPECT_NEAR(clip_mmd(real_features(), real_features()), 0, 1e-12);
}

TEST(ClipMmd, RefusesOtherWidths) {
  EXPECT_THROW(clip_mmd(real_features().slice(1, 1), real_features()), Error);
}

TEST(Vendi, EqualsItsAuthors) {
  const Json& expected = metrics_reference().at("vendi");
  EXPECT_NEAR(vendi_score(fake_features()), expected.at("many"), 1e-10);
  EXPECT_NEAR(vendi_score(fake_features().slice(0, 0, 10)), expected.at("few"), 1e-10);
}

TEST(Vendi, CountsDifferentImages) {
  EXPECT_NEAR(vendi_score(at::eye(4)), 4, 1e-12);
  EXPECT_NEAR(vendi_score(at::eye(4).repeat({3, 1})), 4, 1e-12);
  EXPECT_NEAR(vendi_score(at::ones({9, 2})), 1, 1e-12);
}

}  // namespace
}  // namespace tiller::test
