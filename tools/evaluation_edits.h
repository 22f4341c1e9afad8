#pragma once
#include "metrics/pie_bench.h"
#include "tools/evaluation_data.h"

namespace tiller {

/// An edit to evaluate.
struct EvaluationEdit {
  std::string name;
  Tensor pixels;  ///< (3, H, W) uint8 of the run's size.
  Tensor mask;    ///< (H, W) float32, 1 where the image may change; undefined: nothing says where.
  ImageSpec before, after;
  std::vector<std::string> blend_words;
};

/// What --data holds: PIE-Bench's edits, or images that all become what --edit-class or
/// --edit-prompt says.
struct EvaluationEdits {
  std::vector<PieEdit> benchmark;  ///< Empty: `images`.
  EvaluationData images;
  std::string edit_prompt;
  int64_t edit_label = -1;

  int64_t size() const {
    return benchmark.empty() ? images.images.size(0) : int64_t(benchmark.size());
  }
};

/// The first `count` edits (0: all). A folder with mapping_file.json is PIE-Bench's, for models
/// that read text; anything else is read as load_evaluation_data does. Throws Error, also where
/// images of the mapping are missing, and UsageError.
EvaluationEdits load_evaluation_edits(const fs::path&, int64_t count, const Flags&,
                                      const Generation&, const GenerateRequest& asked);

/// One of them, its image and mask scaled to the run's size. Throws Error when the image can't be
/// used.
EvaluationEdit edit_at(const EvaluationEdits&, int64_t index, const Generation&);

}  // namespace tiller
