#pragma once
#include <algorithm>
#include <vector>

#include "models/perturbation.h"

namespace tiller {

/// Perturbations of the same kind and sites, each for its share of the rows, in their order.
class PooledPerturbation final : public Perturbation {
 public:
  explicit PooledPerturbation(std::vector<const Perturbation*> parts) : parts_(std::move(parts)) {}
  Kind kind() const override { return parts_.front()->kind(); }
  bool is_identity() const override {
    return std::all_of(parts_.begin(), parts_.end(),
                       [](const Perturbation* part) { return part->is_identity(); });
  }
  /// Throws Error where the parts disagree.
  bool acts_at(const Site&) const override;
  Tensor permutation(const Site&) const override;
  Tensor tokens(const Site&, const Tensor& x) const override;
  Tensor attention(const Site&, const Tensor& q, const Tensor& k, const Tensor& v) const override;
  Tensor context() const override;
  Tensor blend(const Tensor& own, const Tensor& second) const override;
  Tensor time(const Tensor& embedding) const override;
  void observe(const Site&, const Tensor& q, const Tensor& k) const override;

 private:
  template <class Rule>
  Tensor joined(const Rule&) const;
  Tensor share(const Tensor& x, size_t part) const;

  std::vector<const Perturbation*> parts_;
  mutable Tensor context_;
};

}  // namespace tiller
