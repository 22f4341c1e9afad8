#pragma once
#include "models/branch.h"

namespace tiller {

/// A UNet that guidance can act in. Implementations: AdmUNet, EdmUNet, UNet2DCondition.
class Network {
 public:
  virtual ~Network() = default;
  /// Where guidance may act, in execution order.
  virtual const std::vector<Site>& sites() const = 0;
  virtual int64_t in_channels() const = 0;
  /// Channels of the prediction, without those of a learned variance.
  virtual int64_t out_channels() const = 0;
  /// Height and width of inputs are multiples of this.
  virtual int64_t size_multiple() const = 0;
  /// Width of the time embedding that Rows::time sees; 0: the network has none.
  virtual int64_t time_channels() const { return 0; }
  /// Residual blocks of the way up, as Rows::features counts them: as many as there are skips.
  virtual int up_blocks() const { return 0; }
  /// x: (B, C, H, W); t: (B) timesteps. Returns the raw output for the rows' final groups,
  /// (groups * B, C', H, W) in float32.
  virtual Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const = 0;
};

/// What a batched evaluation returned.
struct Answers {
  std::vector<Tensor> outputs;  ///< One (B, C', H, W) a branch.
  FlopCount flops;
};

/// Evaluates all branches on the same input in one batch. Equal branches are evaluated once; with
/// share = false every branch is a row of its own from start to end. memory, prompts: RowOptions'.
Answers evaluate(const Network&, const Tensor& x, const Tensor& t, std::span<const Branch>,
                 bool share = true, FeatureMemory* memory = nullptr,
                 PromptMemory* prompts = nullptr);

}  // namespace tiller
