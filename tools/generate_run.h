#pragma once
#include "tools/kept_images.h"
#include "tools/together.h"

namespace tiller {

/// A run of `generate`: all that its report needs.
struct GenerateRun {
  Together together;
  Outputs outputs;
  Generation generation;
  /// One, or one for each row of a comparison.
  std::vector<std::vector<ChosenGuidance>> rows;
  std::vector<GuidanceCost> costs;  ///< One for each of the above.
  std::vector<size_t> made;         ///< Indices of the images that were made.
  KeptImages kept;
  std::optional<bool> came_back;  ///< Of a run from an inversion; unset: nobody can say.
  double load_seconds = 0, seconds = 0;
  double first_image = 0;  ///< Seconds from the start of the process to the first image written.
};

/// Whether images are written one by one.
inline bool writes_images(const GenerateRun& run) {
  return run.outputs.folder || !run.outputs.grid;
}

}  // namespace tiller
