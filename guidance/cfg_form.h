#pragma once
#include "guidance/registry.h"
#include "guidance/space.h"

namespace tiller {

/// What stands in for classifier-free guidance: D = combine(D_c, D_u), so that its difference is
/// combine(D_c, D_u) - D_c. Files of this family need only the rule.
class CfgForm : public Guidance {
 public:
  /// idle: the rule gives D_c back, so nothing is evaluated.
  CfgForm(Space space, bool idle) : space_(space), idle_(idle) {}
  bool is_idle() const final { return idle_; }
  std::vector<Request> requests(const GuidanceStep&, std::span<const Tensor> answers) final;
  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) final;

 protected:
  /// c, u: (B, C, H, W) float32 in the space given.
  virtual Tensor combine(const GuidanceStep&, const Tensor& c, const Tensor& u) = 0;

 private:
  Space space_;
  bool idle_;
};

/// The option `scale` as all of the family have it.
Option cfg_scale_option(const std::string& value = "7.5");

}  // namespace tiller
