#pragma once
#include "tools/scheme_run.h"

namespace tiller {

/// The first scheme's distances, one a network, which the others are compared with.
using Baseline = std::vector<std::optional<FrechetEstimate>>;

/// All figures of a scheme whose batches are there. Fills a baseline that is empty.
void measure(SchemeRun&, const ReadyScheme&, Baseline&, SchemeResult&);

}  // namespace tiller
