#pragma once
#include "tools/generation.h"

namespace tiller {

/// Images to evaluate on, each with what the model is told of it.
struct EvaluationData {
  Tensor images;  ///< (N, 3, S, S) uint8.
  std::vector<std::string> names;
  std::vector<ImageSpec> specs;
};

/// Reads --data as training does: folders (a class a sub-folder, captions), tars, CIFAR-10's and
/// MNIST's files; the first `count` images (0: all), scaled and cropped to the request's size. A
/// model of classes is told the image's own by name, or by number where the data has none, unless
/// `--class` names one for all; a model of text the image's caption, else its class, else nothing,
/// unless `--prompt` gives one for all. Throws Error or UsageError.
EvaluationData load_evaluation_data(const fs::path&, int64_t count, const Generation&,
                                    const GenerateRequest& asked);

}  // namespace tiller
