#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tiller {
using at::Tensor;

/// How fast a moving average of the weights forgets.
struct Averaging {
  enum class Rule {
    decay,      ///< Keeps `value` a step; fewer in the first steps.
    half_life,  ///< Keeps half after `value` images, as EDM counts (arXiv 2206.00364).
    power       ///< EDM2's power function of relative width `value` (arXiv 2312.02696, appendix C).
  };
  Rule rule = Rule::decay;
  double value = 0.9999;
  std::string name = "0.9999";  ///< As it was asked for.
};

/// Parses "0.9999", "half-life=500000" and "power=0.05". Throws UsageError.
Averaging averaging_from(const std::string&);

/// The share of the average that a step keeps. step: 1 for the first; batch: images a step.
double kept_share(const Averaging&, int64_t step, int64_t batch);

/// average = kept average + (1 - kept) weights.
void update_average(std::vector<Tensor>& average, const std::vector<Tensor>& weights, double kept);

}  // namespace tiller
