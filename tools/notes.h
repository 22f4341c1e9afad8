#pragma once
#include "tools/generation.h"

namespace tiller {

/// A line on standard error, unless --quiet or --json, where --negative-prompt was given and none
/// of the guidances reads it.
void note_unread_negative(const Flags&, const std::vector<std::span<const ChosenGuidance>>&);

}  // namespace tiller
