#pragma once
#include "models/network.h"
#include "models/prediction.h"

namespace tiller {

/// The images being made and what guidance may know of the step.
struct GuidanceStep {
  StepContext context;
  NoiseLevel level;
  PredictionType prediction = PredictionType::epsilon;
  Tensor x;  ///< (B, C, H, W), not yet scaled for the network.
  const Conditioning* positive = nullptr;
  const Conditioning* negative = nullptr;  ///< nullptr: the model knows none.
  const Conditioning* empty = nullptr;     ///< Of the empty prompt; nullptr: there is none.
  /// The negative one without the image that the model edits; nullptr: it edits none.
  const Conditioning* without_image = nullptr;
  bool asks_negative = false;  ///< Whether one of cfg's family acts at this step.
};

/// An evaluation that a guidance asks for.
struct Request {
  Branch branch;
  Tensor input = {};                 ///< Another input than x; undefined: x.
  const Network* network = nullptr;  ///< Another network; nullptr: the model's own.
};

/// A guidance contributes differences: the prediction is D_c + sum_i delta_i, with D_c the
/// conditional prediction, then post-processing in the order in which guidances were given.
/// Answers are raw network outputs without learned variance, (B, C, H, W) float32: the conditional
/// prediction first, then what this guidance asked for, in the order in which it asked.
/// Outside its interval of steps none of its functions but begin_run is called.
class Guidance {
 public:
  virtual ~Guidance() = default;
  /// Whether steps depend on those before, so that a run has no exact inverse.
  virtual bool remembers() const { return false; }
  /// Whether `requests`, `delta` and `alterations` are all there is to it and depend on their
  /// arguments alone, so that steps side by side can share it.
  virtual bool is_stateless() const { return false; }
  /// Whether its options make it change nothing.
  virtual bool is_idle() const { return false; }
  /// Whether it reads the attention of the network's blocks at every step.
  virtual bool reads_attention() const { return false; }
  /// Forgets the last run: state across steps starts afresh.
  virtual void begin_run() {}
  /// Draws and prepares what an evaluation needs; called before `requests`. Samplers of higher
  /// order evaluate more than once at the same step.
  virtual void begin_step(const GuidanceStep&) {}
  /// A perturbation of cross-attention for all branches that read the positive conditioning, D_c
  /// itself included (NAG). nullptr: none.
  virtual const Perturbation* cross(const GuidanceStep&) const { return nullptr; }
  /// Rules for all branches of the step, whoever asks for them.
  virtual Alterations alterations() const { return {}; }
  /// What this guidance asks for besides the conditional branch, in stages: called first without
  /// answers, then with the answers so far, until it has some and returns nothing.
  virtual std::vector<Request> requests(const GuidanceStep&, std::span<const Tensor> answers) {
    return {};
  }
  /// Its difference, given all answers. Undefined: none.
  virtual Combination delta(const GuidanceStep&, std::span<const Tensor> answers) { return {}; }
  /// Post-processing of the sum. conditional: D_c.
  virtual Combination finish(const GuidanceStep&, Combination guided, const Tensor& conditional) {
    return guided;
  }
  /// The raw output whose epsilon the sampler noises the sample with (CFG++). Undefined: the guided
  /// one.
  virtual Tensor renoise(const GuidanceStep&, std::span<const Tensor> answers) { return {}; }
};

}  // namespace tiller
