#pragma once
/// The features of tests/reference/make_metrics.py and the figures of other tools for them.
#include "tests/models/formula.h"

namespace tiller::test {

inline const Json& metrics_reference() {
  static const Json json = fixture("metrics.json");
  return json;
}

/// (N, 24) float64, of different scales by column.
inline Tensor formula_features(const std::string& name, int64_t count) {
  constexpr int64_t width = 24;
  const Tensor scale = at::arange(width, at::kDouble).remainder(5) + 1;
  return formula_tensor(name, {count, width}).to(at::kDouble) * scale;
}

inline Tensor real_features() { return formula_features("real", 150); }
inline Tensor fake_features() { return formula_features("fake", 180) * 1.125 + 0.25; }

}  // namespace tiller::test
