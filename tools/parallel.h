#pragma once
#include "samplers/parallel.h"
#include "tools/generation.h"

namespace tiller {

/// How the request's --parallel is to be read for a run of so many steps; unset: one step after the
/// other. Throws UsageError.
std::optional<ParallelOptions> requested_parallel(const GenerateRequest&, int64_t steps);

/// Throws UsageError where the request asks for steps side by side and for something that steps are
/// needed one after the other for.
void check_parallel(const Generation&, std::span<const ChosenGuidance>);

/// The samples of a batch, from its noise x, (B, C, H, W), by steps side by side.
Tensor run_parallel(const Generation&, std::span<const ChosenGuidance>, GuidedBatch, Tensor x,
                    NoiseSource&, GuidanceCost&, const Observer&);

/// What --json says of it.
Json parallel_json(const Generation&, const GuidanceCost&);

}  // namespace tiller
