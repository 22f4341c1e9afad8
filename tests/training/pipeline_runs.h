#pragma once
#include "tests/training/tiny_pipeline.h"
#include "tests/training/training_runs.h"

namespace tiller::test {

/// Runs of pipelines on squares of three colours.
class PipelineRuns : public TrainingRuns {
 protected:
  /// The i-th: red, green, blue in turn.
  std::string square(int i) const {
    return png(i % 3 == 0 ? 250 : 5, i % 3 == 1 ? 250 : 5, i % 3 == 2 ? 250 : 5);
  }

  /// What a run throws as UsageError; "": nothing.
  std::string refusal(const TrainOptions& options) const {
    try {
      train_to(1, options);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  }
};

}  // namespace tiller::test
