#pragma once
#include "guidance/perturbed.h"

namespace tiller {

/// Reads one site's self-attention and keeps what its guidance needs of it. Where several processes
/// share branches the one that evaluated a branch hands the reading on.
class ObservingPerturbation : public SitePerturbation {
 public:
  using SitePerturbation::SitePerturbation;
  Kind kind() const final { return Kind::observe; }
  const Tensor& reading() const { return reading_; }
  void set_reading(Tensor reading) const { reading_ = std::move(reading); }

 private:
  mutable Tensor reading_;
};

}  // namespace tiller
