#pragma once
#include <optional>

#include "models/spine.h"
#include "models/transformer2d.h"
#include "models/unet2d_config.h"

namespace tiller {

/// Norm, SiLU and convolution twice, with the time embedding in between and a residual around.
struct Resnet2D {
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2;
  Linear time;
  std::optional<Conv2d> shortcut;
  bool scale_shift = false;
  double dropout = 0;
  double output_scale = 1;  ///< Divides the sum with the residual.
  int up_index = -1;        ///< Counted over the way up; -1: lies elsewhere.
  /// x: (R, C, H, W); time: (R, T), after its SiLU.
  Tensor operator()(Rows&, const Tensor& x, const Tensor& time) const;
};

/// What leaves a skip on the way down or reads one on the way up, or a piece of the middle.
struct UNet2DLayer {
  std::optional<Resnet2D> resnet;
  std::optional<Transformer2D> attention = {};
  /// Halves the size, on the way down alone; doubles it, after the others. Absent: neither.
  std::optional<Conv2d> resample = {};
  SkipPlace place = {};  ///< On the way up.
};

/// Takes a UNet's layers in execution order, and lists the sites on the way.
class UNet2DBuilder {
 public:
  UNet2DBuilder(const UNet2DConfig&, Weights&);
  std::vector<UNet2DLayer> take_down();
  std::vector<UNet2DLayer> take_mid();
  std::vector<UNet2DLayer> take_up();
  const std::vector<Site>& sites() const { return sites_; }
  int up_resnets() const { return up_resnets_; }

 private:
  void take_down(size_t stage, std::vector<UNet2DLayer>&);
  void take_up(size_t stage, std::vector<UNet2DLayer>&);
  Resnet2D take_resnet(const std::string& name, int64_t in, int64_t out, double output_scale = 1);
  Transformer2D take_stack(const std::string& name, const UNet2DStage&, size_t index, Part part);

  const UNet2DConfig& config_;
  Weights& weights_;
  std::vector<Site> sites_;
  std::vector<int64_t> skips_;  // their channels
  int64_t channels_ = 0;        // of what the next stage reads
  int stacks_ = 0;
  int downscale_ = 1;
  int counted_[3] = {0, 0, 0};  // sites of each part
  int up_resnets_ = 0;
};

Tensor run_down(const UNet2DLayer&, Rows&, const Tensor& x, const Tensor& time);
Tensor run_mid(const std::vector<UNet2DLayer>&, Rows&, Tensor x, const Tensor& time);
/// Drops the last skip, and doubles to the size of the one before.
Tensor run_up(const UNet2DLayer&, Rows&, const Tensor& x, const Tensor& time, Skips& skips);

}  // namespace tiller
