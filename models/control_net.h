#pragma once
#include <nlohmann/json.hpp>

#include "models/unet2d_blocks.h"
#include "models/unet2d_embedding.h"

namespace tiller {

/// diffusers' ControlNetModel (arXiv 2302.05543): a copy of a UNet's way down that reads an image
/// too and gives a residual for each of the UNet's skips and for its middle. It is evaluated as
/// diffusers does without guess mode: for each branch with the branch's own context.
class ControlNet {
 public:
  /// From its config.json, with the tensors' names of diffusers. Throws Error naming keys that are
  /// malformed or not supported. Call weights.finish() afterwards.
  ControlNet(const nlohmann::json& config, Weights&);

  /// The config of the copied UNet alone, checked as in the constructor.
  static UNet2DConfig read_config(const nlohmann::json&);
  /// The copied UNet's; what concerns the way up means nothing.
  const UNet2DConfig& config() const { return config_; }
  /// Pixels of the image a latent's side.
  int64_t pixel_scale() const { return int64_t{1} << (hint_.size() / 2 - 1); }

  /// image: (1, 3, H, W) in [0, 1]. Returns what `residuals` reads, (1, C, H / 8, W / 8).
  Tensor embed(const Tensor& image) const;
  /// x: (B, C, H, W); t: (B); hint: `embed`'s. One residual a skip, then the middle's, for the
  /// rows' groups as they were at each.
  std::vector<Tensor> residuals(const Tensor& x, const Tensor& t, const Tensor& hint,
                                Rows& rows) const;

 private:
  UNet2DConfig config_;
  bool bgr_ = false;
  Conv2d conv_in_;
  UNet2DTime time_;
  std::vector<Conv2d> hint_;
  std::vector<UNet2DLayer> down_, mid_;
  std::vector<Conv2d> zeros_;  // one a residual
};

/// Evaluates the rows' controls, once for each distinct conditioning and without perturbations, and
/// adds the residuals to the skips. x, t: the network's inputs; middle: its middle block's output.
/// Returns the middle with its residuals. Rows fork by context where they haven't yet. Throws Error
/// where a net's residuals don't fit.
Tensor add_controls(Rows& rows, const Tensor& x, const Tensor& t, const Tensor& middle,
                    std::vector<Tensor>& skips);

/// Whether there is a ControlNet among them.
bool has_nets(const std::vector<Control>&);

/// x: (R, C, H, W), what a stage of the way down leaves before it is halved (where the stage
/// doesn't attend, after), or for the stage after the last what the middle does. Adds that stage's
/// features of the rows' T2I-Adapters. Throws Error where they don't fit; the middle leaves such
/// ones out, as diffusers does.
Tensor add_features(const Rows& rows, Tensor x, size_t stage, bool is_middle = false);

/// Those that act at step `step` of `steps`.
std::vector<Control> acting(const std::vector<Control>&, int step, int steps);

}  // namespace tiller
