#include "tools/subjects.h"

#include <algorithm>

#include "io/error.h"
#include "samplers/noise.h"
#include "tools/inversion_file.h"

namespace tiller {
namespace {

bool has_class(const Model& model, const std::string& name) {
  return std::find(model.class_names.begin(), model.class_names.end(), name) !=
         model.class_names.end();
}

/// Indices of "cat,3", or of one class whose name itself holds commas.
void add_classes(const Model& model, const std::string& text, std::vector<int64_t>& labels) {
  if (has_class(model, text)) return labels.push_back(class_index(model, text));
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    labels.push_back(class_index(model, text.substr(begin, comma - begin)));
    begin = comma + 1;
  }
}

/// Labels in turn: those named, else every class of the model.
std::vector<int64_t> chosen_labels(const Model& model, const std::vector<std::string>& classes) {
  std::vector<int64_t> labels;
  for (const auto& text : classes) add_classes(model, text, labels);
  if (labels.empty())
    for (int64_t label = 0; label < model.classes; ++label) labels.push_back(label);
  return labels;
}

std::string class_labels(const Model& model, const std::vector<int64_t>& labels) {
  std::vector<std::string> names;
  for (const int64_t label : labels) names.push_back(class_label(model, label));
  return enumerate(names);
}

void require_same_classes(const Generation& generation) {
  const GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  const auto now = chosen_labels(model, request.classes),
             then = chosen_labels(model, generation.inversion->request.classes);
  if (now != then)
    throw UsageError("--inversion " + request.inversion + ": got --class " +
                     class_labels(model, now) + ", expected " + class_labels(model, then) +
                     " as the file was made with." + InversionFile::edit_hint);
}

/// The images of an inversion's file, whose recipe isn't to be trusted.
void take_images(Generation& generation) {
  const Model& model = generation.model;
  const auto& prompts = generation.request.text.prompts;
  require_same_classes(generation);
  generation.request.classes = generation.inversion->request.classes;
  generation.request.count = generation.inversion->request.count;
  generation.images = generation.inversion->images;
  for (const auto& image : generation.images) {
    const bool label_fits =
        model.classes == 0 ? image.label == -1 : image.label >= 0 && image.label < model.classes;
    const bool prompt_fits = model.text ? std::ranges::find(prompts, image.prompt) != prompts.end()
                                        : image.prompt.empty();
    if (!label_fits || !prompt_fits)
      throw Error("--inversion " + generation.request.inversion +
                  ": got an image of a class or prompt that the recipe or the model lacks, "
                  "expected a file that `tiller invert` wrote.");
  }
}

}  // namespace

void check_subject(const Generation& generation) {
  const GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  if (model.classes == 0 && !request.classes.empty())
    throw UsageError("--class: got '" + request.classes.front() + "', expected " +
                     (model.text ? "--prompt: the model reads text."
                                 : "none: the model isn't class-conditional."));
  if (!model.text && !request.text.prompts.empty())
    throw UsageError("--prompt: got '" + request.text.prompts.front() + "', expected " +
                     (model.classes ? "--class: the model knows " + std::to_string(model.classes) +
                                          " classes and reads no text."
                                    : "none: the model reads no text."));
  if (!model.text && request.text.negative_given)
    throw UsageError("--negative-prompt: got '" + request.text.negative +
                     "', expected none: the model reads no text.");
  if (model.text && request.text.prompts.empty())
    throw UsageError("--prompt: got none, expected what to draw: the model reads text.");
}

void choose_images(Generation& generation) {
  if (generation.inversion) {
    take_images(generation);
    return;
  }
  GenerateRequest& request = generation.request;
  const auto& prompts = request.text.prompts;
  std::vector<int64_t> labels = chosen_labels(generation.model, request.classes);
  const int64_t named =
      int64_t(std::max(prompts.size(), request.classes.size() ? labels.size() : 0));
  if (request.count == 0) request.count = std::max<int64_t>(1, named);
  labels.resize(std::min<size_t>(labels.size(), request.count));
  request.classes.clear();
  for (const int64_t label : labels) request.classes.push_back(std::to_string(label));
  for (const uint64_t seed : image_seeds(request.seed, request.count)) {
    const size_t k = generation.images.size();
    generation.images.push_back({seed, labels.empty() ? -1 : labels[k % labels.size()],
                                 prompts.empty() ? "" : prompts[k % prompts.size()]});
  }
}

std::string class_label(const Model& model, int64_t label) {
  if (label < 0) return "";
  return label < int64_t(model.class_names.size()) ? model.class_names[label]
                                                   : "class " + std::to_string(label);
}

std::string subject_of(const Model& model, const ImageSpec& image) {
  return model.text ? image.prompt : class_label(model, image.label);
}

}  // namespace tiller
