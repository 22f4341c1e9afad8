#include "tools/notes.h"

#include <algorithm>
#include <iostream>

namespace tiller {

void note_idle_options(const Flags& flags, const Generation& generation) {
  if (flags.has("quiet") || flags.has("json")) return;
  for (const auto& line : generation.idle) std::cerr << line << "\n";
}

void note_unread_negative(const Flags& flags,
                          const std::vector<std::span<const ChosenGuidance>>& rows) {
  if (!flags.has("negative-prompt") || flags.has("quiet") || flags.has("json")) return;
  for (const auto& row : rows)
    if (std::ranges::any_of(row, [](const auto& chosen) { return chosen.entry->needs_negative; }))
      return;
  std::cerr << "No guidance reads the negative prompt: cfg does.\n";
}

}  // namespace tiller
