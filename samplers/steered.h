#pragma once
/// What null-text, negative-prompt and direct inversion have in common.
#include "samplers/walk.h"

namespace tiller {

/// Throws UsageError where the model reads no text, or guidance can't be given another negative.
void require_text(const InversionRun&);

/// DDIM's inversion under the prompt or class alone. `path`, where not null, gets the latents of
/// levels state.level, ..., until, one after the other.
InversionState ascend_unguided(const InversionRun&, const InversionState&, int until,
                               std::vector<Tensor>* path);

/// DDIM under guidance away from the record's states, (S, B, L, D): one for all steps, or one each
/// of the last S. Without a record: guidance as it is. Throws UsageError where they don't fit the
/// model's.
InversionState descend_with_negatives(const InversionRun&, const InversionState&,
                                      const std::string& sampler);

}  // namespace tiller
