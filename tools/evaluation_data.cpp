#include "tools/evaluation_data.h"

#include <ATen/ATen.h>

#include <iostream>

#include "io/error.h"
#include "samplers/noise.h"
#include "training/class_names.h"
#include "training/dataset.h"

namespace tiller {
namespace {

/// The model's label for each of the data's classes.
std::vector<int64_t> labels_of_classes(const fs::path& path, const Dataset& data,
                                       const Model& model) {
  std::vector<int64_t> labels;
  for (const auto& name : utf8_names(data.class_names)) {
    const auto found = std::find(model.class_names.begin(), model.class_names.end(), name);
    if (found == model.class_names.end())
      throw Error(path.string() + ": got the class '" + printable(name) + "', expected one of " +
                  (model.class_names.empty() ? "a model's that names its classes"
                                             : enumerate(model.class_names)) +
                  ". --class gives one for all." + suggestion(name, model.class_names));
    labels.push_back(found - model.class_names.begin());
  }
  return labels;
}

/// Labels by number, where the data doesn't name its classes.
int64_t numbered_label(const fs::path& path, int64_t label, const Model& model) {
  if (label < model.classes) return label;
  throw Error(path.string() + ": got class " + std::to_string(label) + ", expected 0 to " +
              std::to_string(model.classes - 1) +
              " as the model knows. --class gives one for all.");
}

void tell_labels(const fs::path& path, const Dataset& data, const Model& model,
                 const std::vector<std::string>& classes, std::vector<ImageSpec>& specs) {
  if (classes.size() > 1)
    throw UsageError("--class: got several, expected one for all images, or none.");
  if (!classes.empty()) {
    for (auto& spec : specs) spec.label = class_index(model, classes.front());
    return;
  }
  if (!data.labels.defined())
    throw UsageError("--class: got none, and " + path.string() +
                     " has no class folders, expected a class for all images: the model knows " +
                     std::to_string(model.classes) + ".");
  const auto labels = labels_of_classes(path, data, model);
  for (size_t i = 0; i < specs.size(); ++i) {
    const int64_t label = data.labels[int64_t(i)].item<int64_t>();
    specs[i].label = labels.empty() ? numbered_label(path, label, model) : labels.at(label);
  }
}

void tell_prompts(const Dataset& data, const std::vector<std::string>& prompts,
                  std::vector<ImageSpec>& specs) {
  if (prompts.size() > 1)
    throw UsageError("--prompt: got several, expected one for all images, or none.");
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!prompts.empty())
      specs[i].prompt = prompts.front();
    else if (!data.captions.empty())
      specs[i].prompt = data.captions[i];
    else if (data.labels.defined() && !data.class_names.empty())
      specs[i].prompt = data.class_names.at(data.labels[int64_t(i)].item<int64_t>());
  }
}

}  // namespace

EvaluationData load_evaluation_data(const fs::path& path, int64_t count,
                                    const Generation& generation, const GenerateRequest& asked) {
  const ImageSize& size = generation.request.size;
  if (size.height != size.width)
    throw UsageError("--size: got " + to_text(size) + ", expected a square to evaluate on.");
  const Dataset data = load_dataset(path, size.width);
  for (const auto& skipped : data.skipped) std::cerr << "left out: " << skipped << "\n";
  const int64_t there = data.images.size(0), used = count ? std::min(count, there) : there;
  EvaluationData result;
  result.images = data.images.narrow(0, 0, used);
  for (int64_t i = 0; i < used; ++i)
    result.names.push_back(data.names.empty() ? std::to_string(i) : data.names[i]);
  for (const uint64_t seed : image_seeds(generation.request.seed, used))
    result.specs.push_back({seed});
  const Model& model = generation.model;
  if (model.classes) tell_labels(path, data, model, asked.classes, result.specs);
  if (model.text) tell_prompts(data, asked.text.prompts, result.specs);
  return result;
}

}  // namespace tiller
