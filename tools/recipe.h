#pragma once
#include "io/image.h"
#include "tools/generation.h"

namespace tiller {

/// The images that were computed together with the one at hand: repeating all of them repeats its
/// bytes, since rounding depends on the batch.
struct BatchOf {
  std::vector<ImageSpec> images;
  size_t row = 0;
};

/// What a PNG tells of how it was made.
struct Recipe {
  GenerateRequest request;
  std::string model_file, model_hash;
  std::map<std::string, std::string> inputs;  ///< As Generation has them.
  BatchOf batch;  ///< Without images for a grid, whose request says all.
};

/// Text for the PNG of one image: Automatic1111's `parameters` and Tiller's own `tiller`.
PngText image_text(const Generation&, std::span<const ChosenGuidance>, const BatchOf&);
/// The same for a grid of all images; one of `rows` for each row of a comparison, else one for all.
PngText grid_text(const Generation&, std::span<const std::vector<ChosenGuidance>> rows);

/// Throws Error when the file isn't a PNG with a recipe of Tiller's.
Recipe read_recipe(const fs::path& png);

/// Throws Error unless the model is the one that `png` was made with.
void require_model(const Recipe&, const Model&, const fs::path& png);

/// As they are written after --guidance; "" without any.
std::string joined_guidances(std::span<const ChosenGuidance>);

/// Name, limits and sites of each guidance, for recipes and --json.
Json describe(std::span<const ChosenGuidance>);

}  // namespace tiller
