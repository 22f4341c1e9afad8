#include "guidance/local_blend.h"

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// A peak of 1 and a hill of 0.2: the peak's surroundings are taken, the hill isn't.
TEST(LocalBlend, RegionsAreAroundWhatReachesTheThreshold) {
  Tensor map = at::zeros({32, 48});
  map[10][20].fill_(1);
  map[30][40].fill_(0.2);
  const Tensor region = word_region(map, 0.3);
  Tensor expected = at::zeros({32, 48}, at::kBool);
  expected.narrow(0, 8, 5).narrow(1, 17, 7).fill_(true);
  EXPECT_TRUE(region.equal(expected));
  EXPECT_TRUE(word_region(map, 0.1)[30][41].item<bool>());
  EXPECT_FALSE(word_region(at::zeros({4, 4}), 0.3).any().item<bool>());
}

TEST(LocalBlend, OutsideEditsAreTheirSourcesToTheBit) {
  const Tensor sample = normal({4, 2, 3, 5}, 1);
  Tensor region = at::zeros({3, 5}, at::kBool);
  region[1][2].fill_(true);
  const Tensor got = blended(sample, region);
  EXPECT_TRUE(got.narrow(0, 0, 2).equal(sample.narrow(0, 0, 2)));
  for (const int64_t image : {2, 3})
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t column = 0; column < 5; ++column) {
        const int64_t from = row == 1 && column == 2 ? image : image - 2;
        for (int64_t c = 0; c < 2; ++c)
          EXPECT_TRUE(got[image][c][row][column].equal(sample[from][c][row][column]));
      }
}

}  // namespace
}  // namespace tiller::test
