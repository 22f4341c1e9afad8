#pragma once
#include "models/network.h"
#include "models/prediction.h"

namespace tiller {

/// The images being made and what guidance may know of the step.
struct GuidanceStep {
  StepContext context;
  NoiseLevel level;
  PredictionType prediction = PredictionType::epsilon;
  Tensor x;                                ///< (B, C, H, W), not yet scaled for the network.
  const Conditioning* positive = nullptr;
  const Conditioning* negative = nullptr;  ///< nullptr: the model knows none.
};

/// An evaluation that a guidance asks for.
struct Request {
  Branch branch;
  Tensor input;                      ///< Another input than x; undefined: x.
  const Network* network = nullptr;  ///< Another network; nullptr: the model's own.
};

/// A guidance contributes differences: the prediction is D_c + sum_i delta_i, with D_c the
/// conditional prediction, then post-processing in the order in which guidances were given.
class Guidance {
 public:
  virtual ~Guidance() = default;
  /// Draws and prepares what the step needs. Called once before `requests`.
  virtual void begin_step(const GuidanceStep&) {}
  /// What this guidance asks for besides the conditional branch, in stages: called with the answers
  /// to all it asked before (the conditional prediction first), until it returns nothing.
  /// Raw network outputs without learned variance, (B, C, H, W) float32.
  virtual std::vector<Request> requests(const GuidanceStep&, std::span<const Tensor> answers) = 0;
  /// Its difference; answers as above. Undefined: none.
  virtual Tensor delta(const GuidanceStep&, std::span<const Tensor> answers) = 0;
  /// Post-processing of the sum. conditional: D_c.
  virtual Tensor finish(const GuidanceStep&, Tensor guided, const Tensor& conditional) {
    return guided;
  }
};

}  // namespace tiller
