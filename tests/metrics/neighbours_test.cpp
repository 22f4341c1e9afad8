#include "metrics/neighbours.h"

#include "io/error.h"
#include "metrics/distance_tiles.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

std::vector<NeighbourScores> scores_of(const Tensor& generated, const Tensor& reference) {
  return neighbour_scores(nearest_neighbours(generated), nearest_neighbours(reference));
}

TEST(Neighbours, PrecisionAndRecallEqualTorchFidelity) {
  const auto got = scores_of(fake_features(), real_features()).at(0);
  const Json& expected = metrics_reference().at("neighbours").at("improved");
  // torch-fidelity takes its means in float32.
  EXPECT_NEAR(got.precision, expected.at("precision"), 1e-7);
  EXPECT_NEAR(got.recall, expected.at("recall"), 1e-7);
}

TEST(Neighbours, AllFourEqualPrdc) {
  const auto got = scores_of(fake_features(), real_features()).at(1);
  const Json& expected = metrics_reference().at("neighbours").at("prdc");
  EXPECT_DOUBLE_EQ(got.precision, expected.at("precision"));
  EXPECT_DOUBLE_EQ(got.recall, expected.at("recall"));
  EXPECT_DOUBLE_EQ(got.density, expected.at("density"));
  EXPECT_DOUBLE_EQ(got.coverage, expected.at("coverage"));
}

TEST(Neighbours, TilesCoverEveryPairOnce) {
  const Tensor a = fake_features(), b = real_features();
  Tensor got = at::full({180, 150}, -1., at::kDouble);
  int tiles = 0;
  const auto put = [&](const Tensor& squared, int64_t row, int64_t column) {
    ++tiles;
    got.slice(0, row, row + squared.size(0))
        .slice(1, column, column + squared.size(1))
        .copy_(squared);
  };
  for_each_distance_tile(a, b, put, 64);
  EXPECT_EQ(tiles, 9);
  const Tensor expected = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(2);
  EXPECT_LT(relative_error(got, expected), 1e-14);
}

TEST(Neighbours, ManyTilesFindTheSameNeighbours) {
  const Tensor x = formula_tensor("many", {2500, 3});
  const Tensor all = (x.to(at::kDouble).unsqueeze(1) - x.to(at::kDouble)).square().sum(2);
  const Tensor expected = std::get<0>(all.sort(1)).slice(1, 1, 6);
  EXPECT_LT(relative_error(nearest_neighbours(x).squared, expected), 1e-13);
}

/// float32 would take these apart no better than rounding does.
TEST(Neighbours, FarFromTheOriginAreFoundToo) {
  const Tensor fake = fake_features(), real = real_features();
  const auto near = scores_of(fake, real), far = scores_of(fake + 1e5, real + 1e5);
  EXPECT_EQ(near.at(0).precision, far.at(0).precision);
  EXPECT_EQ(near.at(0).recall, far.at(0).recall);
  EXPECT_EQ(near.at(1).density, far.at(1).density);
}

TEST(Neighbours, OfTheSameSet) {
  const Tensor real = real_features();
  const auto scores = scores_of(real, real);
  EXPECT_EQ(scores.at(0).precision, 1);
  EXPECT_EQ(scores.at(0).recall, 1);
  EXPECT_EQ(scores.at(1).coverage, 1);
}

TEST(Neighbours, OfOneImageManyTimesLieOnTheBoundary) {
  const Tensor same = real_features().slice(0, 0, 1).expand({9, 24});
  const auto scores = scores_of(same, same);
  EXPECT_EQ(scores.at(0).precision, 1);
  EXPECT_EQ(scores.at(1).coverage, 0);
}

TEST(Neighbours, OfFarSetsAreOutside) {
  const auto scores = scores_of(real_features() + 100, real_features());
  for (const auto& score : scores)
    EXPECT_EQ(score.precision + score.recall + score.density + score.coverage, 0);
}

TEST(Neighbours, RefuseTooFewAndOtherWidths) {
  const Tensor real = real_features();
  EXPECT_THROW(nearest_neighbours(real.slice(0, 0, 5)), Error);
  const Neighbours known = nearest_neighbours(real);
  EXPECT_THROW(neighbour_scores(nearest_neighbours(real.slice(1, 1)), known), Error);
  EXPECT_THROW(neighbour_scores(known, known, {{6, true}}), Error);
  EXPECT_THROW(neighbour_scores(known, known, {{0, true}}), Error);
}

}  // namespace
}  // namespace tiller::test
