#pragma once
/// Inception Score (Salimans et al. 2016, arXiv 1606.03498).
#include <ATen/core/Tensor.h>

#include <optional>

namespace tiller {
using at::Tensor;

struct InceptionScore {
  double mean = 0, std = 0;  ///< Over the splits; std of the population.
};

struct InceptionScoreOptions {
  int64_t splits = 10;
  /// torch-fidelity shuffles the images with this seed first; none: splits are consecutive images.
  std::optional<uint32_t> shuffle = 2020;
};

/// exp of the mean over images of KL(p(c | x) || mean of p(c)), p the softmax of the logits, in
/// float64. logits: (N, C), Inception's without bias, as torch-fidelity and the original. Throws
/// Error on fewer images than splits and on logits that aren't finite.
InceptionScore inception_score(const Tensor& logits, const InceptionScoreOptions& = {});

}  // namespace tiller
