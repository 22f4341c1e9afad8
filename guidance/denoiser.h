#pragma once
#include <memory>

#include "guidance/registry.h"
#include "models/feature_cache.h"

namespace tiller {

class EvaluationGraphs;
class ProcessGroup;

/// What prompts say at a step, in the place of a conditioning's own.
struct StepPrompts {
  Tensor context, pooled;
};

/// The images that a guided denoiser works on.
struct GuidedBatch {
  Conditioning positive;
  std::optional<Conditioning> negative;
  /// One a step where prompts change from step to step; empty: they don't.
  std::vector<StepPrompts> positive_at = {}, negative_at = {};
  std::optional<Conditioning> empty;  ///< Of the empty prompt, where a guidance needs_empty.
  /// The negative one without the image that the model edits.
  std::optional<Conditioning> without_image = {};
  std::vector<uint64_t> seeds;  ///< One an image.
  int steps = 1;                ///< Of the whole run.
  /// Reads the conditional branch's cross-attention; empty: nobody does.
  TextObserver observer = {};
  /// Asks for branches like a guidance, at every step, and adds nothing; null: none.
  std::shared_ptr<Guidance> onlooker = {};
  /// Images are pairs: the first half sources, the second half their edits; null: they aren't.
  std::shared_ptr<EditControl> control = {};
  /// What evaluations take from those before, in this run alone; none: nothing.
  std::optional<FeatureCache> cache = {};
  /// Processes that run the same loop and evaluate its branches together; null: this one does.
  ProcessGroup* together = nullptr;
  /// Whether keys and values of prompts are kept from one evaluation to the next, where branches
  /// share layers.
  bool keeps_prompts = true;
  /// Evaluations recorded for a device, which may serve several batches; null: none are.
  std::shared_ptr<EvaluationGraphs> graphs = {};
};

/// What a run has cost, for --json.
struct GuidanceCost {
  FlopCount flops;
  int64_t evaluations = 0;   ///< Batched network calls.
  int64_t branches = 0;      ///< Branches asked for.
  int64_t reused = 0;        ///< Network calls that took the deep part from a call before.
  int64_t windows = 0;       ///< Of parallel sampling: batches of steps, one after the other, and
  int64_t window_steps = 0;  ///< the images' steps in them.
};

/// What evaluations of a run share; null: nothing.
struct Kept {
  FeatureMemory* memory = nullptr;
  PromptMemory* prompts = nullptr;
  EvaluationGraphs* graphs = nullptr;  ///< For evaluations without a memory of features.
};

/// Raw outputs of a batch of branches in float32, counted in `cost` unless that is null.
std::vector<Tensor> answered(const Network&, const Tensor& x, const Tensor& t,
                             std::span<const Branch>, bool share, GuidanceCost* cost,
                             const Kept& kept = {});

/// Evaluates the branches of all guidances in one batch a stage, equal ones once, and combines
/// them. The model, guidances and `cost` must outlive it. share = false: each branch in rows of its
/// own.
Denoiser guided_denoiser(const Model&, std::span<ChosenGuidance>, GuidedBatch, bool share,
                         GuidanceCost* cost = nullptr);

}  // namespace tiller
