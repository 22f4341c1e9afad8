#pragma once
#include "models/model.h"

namespace tiller {

/// Throws UsageError where the model can't be guided so; guidance: as below.
void check_preview(const Model&, const std::string& guidance);

/// Writes a grid of samples by DDPM in 30 steps, pixels clipped: one row a class (at most 10), 8
/// seeds a row. guidance: as --guidance takes it; empty: none.
void write_preview(const fs::path&, const Model&, const std::string& guidance, uint64_t seed);

/// The same for a model that reads text, by its own scheduler in 30 steps: one row a prompt, 8
/// seeds a row.
void write_text_preview(const fs::path&, const Model&, const std::vector<std::string>& prompts,
                        const std::string& guidance, uint64_t seed);

}  // namespace tiller
