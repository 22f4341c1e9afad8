#pragma once
#include "tools/generation.h"

namespace tiller {

/// What --cache asks for; none: nothing. Throws UsageError.
std::optional<FeatureCache> requested_cache(const Generation&);

/// Throws UsageError where the request asks for a cache and for what needs every evaluation whole.
void check_cache(const Generation&, std::span<const ChosenGuidance>);

}  // namespace tiller
