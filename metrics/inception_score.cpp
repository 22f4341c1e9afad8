#include "metrics/inception_score.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "metrics/features.h"
#include "metrics/numpy_random.h"

namespace tiller {
namespace {

Tensor score(const Tensor& log_p) {
  const Tensor p = log_p.exp(), log_mean = p.mean(0, true).log();
  // A class of probability 0 throughout adds nothing, where its logarithms would give NaN.
  const Tensor terms = at::where(p > 0, p * (log_p - log_mean), 0.);
  return terms.sum(1).mean().exp();
}

}  // namespace

InceptionScore inception_score(const Tensor& logits, const InceptionScoreOptions& options) {
  if (options.splits < 1)
    throw Error("Inception Score: got " + std::to_string(options.splits) +
                " splits, expected at least 1.");
  check_features(logits, "logits", options.splits);
  const int64_t count = logits.size(0);
  Tensor log_p = logits.to(at::kCPU, at::kDouble);
  if (options.shuffle)
    log_p = log_p.index_select(0, NumpyRandom(*options.shuffle).permutation(count));
  log_p = at::log_softmax(log_p, 1);
  Tensor scores = at::empty({options.splits}, at::kDouble);
  for (int64_t i = 0; i < options.splits; ++i)
    scores[i] = score(log_p.slice(0, i * count / options.splits, (i + 1) * count / options.splits));
  return {scores.mean().item<double>(), scores.std(/*unbiased=*/false).item<double>()};
}

}  // namespace tiller
