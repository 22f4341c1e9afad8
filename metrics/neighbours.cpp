#include "metrics/neighbours.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "metrics/distance_tiles.h"
#include "metrics/features.h"

namespace tiller {
namespace {

/// What is known so far of pairs of a generated (column) and a reference image (row).
struct Counts {
  BallRule rule;
  Tensor generated_radii, reference_radii;    ///< (M), (N) squared.
  Tensor around_generated;                    ///< (M): reference balls that hold it.
  Tensor around_reference, within_reference;  ///< (N): generated balls; images in its own ball.

  Counts(const BallRule& r, const Neighbours& generated, const Neighbours& reference)
      : rule(r),
        generated_radii(generated.squared.select(1, r.k - 1)),
        reference_radii(reference.squared.select(1, r.k - 1)),
        around_generated(at::zeros_like(generated_radii)),
        around_reference(at::zeros_like(reference_radii)),
        within_reference(at::zeros_like(reference_radii)) {}

  Tensor inside(const Tensor& squared, const Tensor& radii) const {
    return rule.closed ? squared <= radii : squared < radii;
  }

  void add(const Tensor& squared, int64_t row, int64_t column) {
    const auto rows = [&](const Tensor& t) { return t.slice(0, row, row + squared.size(0)); };
    const auto columns = [&](const Tensor& t) {
      return t.slice(0, column, column + squared.size(1));
    };
    const Tensor in_reference = inside(squared, rows(reference_radii).unsqueeze(1));
    columns(around_generated).add_(in_reference.sum(0));
    rows(within_reference).add_(in_reference.sum(1));
    rows(around_reference).add_(inside(squared, columns(generated_radii)).sum(1));
  }

  NeighbourScores scores() const {
    const auto share = [](const Tensor& count) {
      return (count > 0).to(at::kDouble).mean().item<double>();
    };
    return {share(around_generated), share(around_reference),
            around_generated.mean().item<double>() / double(rule.k), share(within_reference)};
  }
};

void check_rule(const BallRule& rule, const Neighbours& neighbours) {
  if (rule.k < 1 || rule.k > neighbours.squared.size(1))
    throw Error("precision and recall: got k = " + std::to_string(rule.k) + ", expected 1 to " +
                std::to_string(neighbours.squared.size(1)) + ", the neighbours looked for.");
}

}  // namespace

Neighbours nearest_neighbours(const Tensor& features, int64_t k) {
  check_features(features, "features", k + 1);
  Tensor squared = at::full({features.size(0), k}, std::numeric_limits<double>::infinity(),
                            features.options().dtype(at::kDouble));
  for_each_distance_tile(features, features, [&](const Tensor& tile, int64_t row, int64_t column) {
    if (row == column) tile.fill_diagonal_(std::numeric_limits<double>::infinity());
    Tensor best = squared.slice(0, row, row + tile.size(0));
    const auto nearest = std::get<0>(tile.topk(std::min(k, tile.size(1)), 1, /*largest=*/false));
    best.copy_(std::get<0>(at::cat({best, nearest}, 1).sort(1)).slice(1, 0, k));
  });
  return {features, squared};
}

std::vector<NeighbourScores> neighbour_scores(const Neighbours& generated,
                                              const Neighbours& reference,
                                              const std::vector<BallRule>& rules) {
  check_features(generated.features, reference.features);
  std::vector<Counts> counts;
  for (const BallRule& rule : rules) {
    check_rule(rule, generated);
    check_rule(rule, reference);
    counts.emplace_back(rule, generated, reference);
  }
  for_each_distance_tile(reference.features, generated.features,
                         [&](const Tensor& squared, int64_t row, int64_t column) {
                           for (Counts& count : counts) count.add(squared, row, column);
                         });
  std::vector<NeighbourScores> scores;
  for (const Counts& count : counts) scores.push_back(count.scores());
  return scores;
}

}  // namespace tiller
