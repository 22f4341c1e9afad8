#pragma once
#include <optional>

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

/// A stage's layers; `attentions` is empty or has one a resnet (in the middle: one between two).
struct UNet2DLayers {
  std::vector<Resnet2D> resnets;
  std::vector<Transformer2D> attentions;
  std::optional<Conv2d> resample;  ///< After halving (strided) or doubling the size.
};

/// Takes a UNet's stages in execution order, and lists the sites on the way.
class UNet2DBuilder {
 public:
  UNet2DBuilder(const UNet2DConfig&, Weights&);
  UNet2DLayers take_down(size_t stage);
  UNet2DLayers take_mid();
  UNet2DLayers take_up(size_t stage);
  const std::vector<Site>& sites() const { return sites_; }
  int up_resnets() const { return up_resnets_; }

 private:
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

/// Each pushes or pops `skips`: outputs of the way down, for rows as they were then.
Tensor run_down(const UNet2DLayers&, Rows&, Tensor x, const Tensor& time,
                std::vector<Tensor>& skips);
Tensor run_mid(const UNet2DLayers&, Rows&, Tensor x, const Tensor& time);
Tensor run_up(const UNet2DLayers&, Rows&, Tensor x, const Tensor& time, std::vector<Tensor>& skips);

}  // namespace tiller
