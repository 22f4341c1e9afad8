#pragma once
#include "tools/generate_run.h"

namespace tiller {

/// What `--json` prints.
Json report(const GenerateRun&);

/// The line at the end, on standard error.
void print_result(const GenerateRun&);

/// Warns, even where nothing else is said, of latents that came back as others.
void warn_of_others(const GenerateRun&);

}  // namespace tiller
