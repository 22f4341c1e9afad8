#include "samplers/triangular_anderson.h"

#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

constexpr int64_t kImages = 2, kNumbers = 6;

/// A sweep over points first, first + 1, ... of a chain, each (images, numbers).
struct Sweep {
  int first;
  std::vector<Tensor> points, images;

  Tensor residual(int point) const { return images[point - first] - points[point - first]; }
  const Tensor& image(int point) const { return images[point - first]; }
  bool has(int point) const { return point < first + int(points.size()); }
};

Sweep made(int first, int count, double phase) {
  Sweep sweep{first, {}, {}};
  const Tensor j = at::arange(kImages * kNumbers, at::kDouble).reshape({kImages, kNumbers});
  for (int i = first; i < first + count; ++i) {
    sweep.points.push_back((0.7 * j.square() + i + phase).sin());
    sweep.images.push_back((1.1 * j.square() + 2 * i - phase * phase).cos());
  }
  return sweep;
}

/// One image's weights at a point: the least squares over it and those before it, with the ridge
/// as rows of their own. past: the latest last; only differences that know the point count.
Tensor weights_at(const std::vector<Sweep>& past, int point, int64_t image) {
  const Sweep& now = past.back();
  std::vector<Tensor> columns, target;
  double square = 0;
  for (int i = now.first; i <= point; ++i) target.push_back(now.residual(i)[image]);
  for (size_t k = past.size() - 1; k > 0 && past[k - 1].has(point); --k) {
    std::vector<Tensor> column;
    for (int i = now.first; i <= point; ++i)
      column.push_back((past[k].residual(i) - past[k - 1].residual(i))[image]);
    columns.push_back(at::cat(column));
    square += columns.back().square().sum().item<double>();
  }
  const auto count = int64_t(columns.size());
  if (count == 0) return {};
  const double ridge = 1e-6 * square / double(past.size() - 1);
  const Tensor rows =
      at::cat({at::stack(columns, 1), std::sqrt(ridge) * at::eye(count, at::kDouble)});
  const Tensor right = at::cat({at::cat(target), at::zeros({count}, at::kDouble)}).unsqueeze(1);
  return std::get<0>(at::linalg_lstsq(rows, right)).squeeze(1);
}

Tensor expected_at(const std::vector<Sweep>& past, int point) {
  Tensor correction = at::zeros({kImages, kNumbers}, at::kDouble);
  for (int64_t b = 0; b < kImages; ++b) {
    const Tensor weights = weights_at(past, point, b);
    for (int64_t k = 0; weights.defined() && k < weights.size(0); ++k) {
      const size_t later = past.size() - 1 - size_t(k);
      correction[b] += weights[k] * (past[later].image(point) - past[later - 1].image(point))[b];
    }
  }
  return correction;
}

/// Points leave at the front and enter at the end.
TEST(TriangularAnderson, IsTheLeastSquaresOfEachPrefix) {
  const std::vector<Sweep> all = {made(0, 4, 0.3), made(0, 4, 1.1), made(1, 5, 2.3),
                                  made(2, 4, 3.7), made(2, 5, 4.9)};
  const size_t memory = 3;
  TriangularAnderson mixing(memory);
  std::vector<Sweep> past;
  for (const Sweep& sweep : all) {
    past.push_back(sweep);
    if (past.size() > memory) past.erase(past.begin());
    const auto got = mixing.corrections(sweep.first, sweep.points, sweep.images);
    ASSERT_EQ(got.size(), sweep.points.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const Tensor expected = expected_at(past, sweep.first + int(i));
      const Tensor taken = got[i].defined() ? got[i] : at::zeros_like(expected);
      EXPECT_LT((taken - expected).abs().max().item<double>(), 1e-10) << past.size() << " " << i;
    }
  }
  EXPECT_GT(expected_at(past, 2).abs().max().item<double>(), 0.01);
}

}  // namespace
}  // namespace tiller::test
