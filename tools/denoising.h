#pragma once
#include "tools/generation.h"

namespace tiller {

/// The guided denoiser of a batch, limited as the request and the sampler's options say. All must
/// outlive it; `cost` may be null.
Denoiser batch_denoiser(const Generation&, std::span<ChosenGuidance>, GuidedBatch,
                        GuidanceCost* cost);

/// A denoiser limited as the request and the sampler's options say.
Denoiser limited_denoiser(const Generation&, Denoiser);

/// How often a network is asked twice, to find out whether it answers alike.
enum class Verify { off, first, all };

/// What --verify asks for; the first step by default. Throws UsageError.
Verify verify_from(const Flags&);

/// Throws Error when two evaluations of the same input differ by a bit.
Denoiser verified(Denoiser, Verify);

}  // namespace tiller
