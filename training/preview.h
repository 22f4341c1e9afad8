#pragma once
#include "models/model.h"

namespace tiller {

/// Throws UsageError where the model can't be guided so; guidance: as below.
void check_preview(const Model&, const std::string& guidance);

/// Writes a grid of samples in 30 steps, by DDPM with pixels clipped or as the model's scheduler
/// says: one row a class (at most 10), 8 seeds a row. guidance: as --guidance takes it; empty:
/// none.
void write_preview(const fs::path&, const Model&, const std::string& guidance, uint64_t seed);

/// The same for a model that reads text: one row a prompt.
void write_text_preview(const fs::path&, const Model&, const std::vector<std::string>& prompts,
                        const std::string& guidance, uint64_t seed);

}  // namespace tiller
