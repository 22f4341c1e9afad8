#pragma once
#include "io/image.h"
#include "tools/generation.h"

namespace tiller {

/// On standard error, unless --quiet or --json: the generation's idle options, the flags given that
/// its model doesn't read, and what its prompts have of Automatic1111's syntax that isn't read.
void note_idle_options(const Flags&, const Generation&);
/// The latter alone.
void note_unread_flags(const Flags&, const Model&);

/// A line on standard error, unless --quiet or --json, where `path`, which --skip-existing leaves
/// alone, was made with other settings than `text` has. Nothing where it can't be told.
void note_other_settings(const Flags&, const fs::path&, const PngText& text);

/// A line on standard error, unless --quiet or --json, where --negative-prompt was given and none
/// of the guidances reads it.
void note_unread_negative(const Flags&, const std::vector<std::span<const ChosenGuidance>>&);

}  // namespace tiller
