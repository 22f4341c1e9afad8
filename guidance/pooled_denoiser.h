#pragma once
#include "guidance/denoiser.h"
#include "models/window_denoiser.h"

namespace tiller {

/// `count` sets of the same guidances, each for a step of its own at the same time. Guidances whose
/// answers depend on no step are shared with `chosen`, which must outlive the sets.
std::vector<std::vector<ChosenGuidance>> guidance_sets(std::span<const ChosenGuidance> chosen,
                                                       const Model&, size_t count);

/// guided_denoiser for up to sets.size() steps at once: what they ask the same network for goes
/// into one batch, unless guidances act at some of the steps alone; these make a batch of their
/// own. The model and `cost` must outlive it. Throws UsageError on guidances that remember the
/// steps before.
WindowDenoiser pooled_denoiser(const Model&, std::vector<std::vector<ChosenGuidance>> sets,
                               GuidedBatch, bool share, GuidanceCost* cost = nullptr);

}  // namespace tiller
