#include "tools/evaluation_edits.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/image.h"
#include "samplers/noise.h"
#include "tools/source_image.h"

namespace tiller {
namespace {

void require_images(const std::vector<PieEdit>& edits) {
  size_t missing = 0;
  const PieEdit* first = nullptr;
  for (const auto& edit : edits) {
    if (fs::exists(edit.image)) continue;
    if (missing++ == 0) first = &edit;
  }
  if (missing)
    throw Error(first->image.string() + ": is missing, " + std::to_string(missing) + " of " +
                std::to_string(edits.size()) +
                " images are, expected all that mapping_file.json names. --count takes the first.");
}

std::vector<PieEdit> load_benchmark(const fs::path& folder, int64_t count, const Flags& flags,
                                    const Generation& generation) {
  if (!generation.model.text)
    throw UsageError("--data: got PIE-Bench's prompts in " + folder.string() +
                     ", expected a --model that reads text.");
  for (const char* flag : {"edit-prompt", "edit-class", "prompt", "class"})
    if (flags.has(flag))
      throw UsageError("--" + std::string(flag) +
                       ": got it with mapping_file.json, expected none: that says it.");
  auto edits = read_pie_bench(folder);
  if (count > 0) edits.resize(std::min(edits.size(), size_t(count)));
  require_images(edits);
  return edits;
}

/// What all images become.
void choose_target(const fs::path& path, const Flags& flags, const Model& model,
                   EvaluationEdits& edits) {
  const std::string flag = model.text ? "edit-prompt" : "edit-class";
  if (!model.text && model.classes == 0)
    throw UsageError("--model: got one without text and classes, expected one to edit by.");
  if (flags.has(model.text ? "edit-class" : "edit-prompt"))
    throw UsageError("--" + std::string(model.text ? "edit-class" : "edit-prompt") +
                     ": got it, expected --" + flag + " as the model reads.");
  if (!flags.has(flag))
    throw UsageError("--data: got " + path.string() + " without mapping_file.json, expected " +
                     "PIE-Bench's folder, or --" + flag + ": what all images are to become.");
  if (model.text)
    edits.edit_prompt = flags.text(flag);
  else
    edits.edit_label = class_index(model, flags.text(flag));
}

EvaluationEdit benchmark_edit(const PieEdit& edit, const Generation& generation) {
  const Tensor image = read_opaque_image(edit.image);
  if (image.size(1) != image.size(2))
    throw Error(edit.image.string() + ": got " + to_text(ImageSize{image.size(1), image.size(2)}) +
                " pixels, expected a square, over which the mask lies.");
  const ImageSize& size = generation.request.size;
  EvaluationEdit result;
  result.name = edit.key;
  result.pixels = covering(image, size)[0].round().to(at::kByte);
  result.mask =
      latent_mask(pie_mask(edit).unsqueeze(0).unsqueeze(0), size.height, size.width)[0][0];
  result.before = result.after = {generation.request.seed};
  result.before.prompt = edit.source;
  result.after.prompt = edit.target;
  result.blend_words = edit.blended_words;
  return result;
}

}  // namespace

EvaluationEdits load_evaluation_edits(const fs::path& path, int64_t count, const Flags& flags,
                                      const Generation& generation, const GenerateRequest& asked) {
  EvaluationEdits edits;
  if (fs::exists(path / "mapping_file.json")) {
    edits.benchmark = load_benchmark(path, count, flags, generation);
    return edits;
  }
  if (!fs::exists(path)) throw Error(path.string() + ": doesn't exist, expected --data's images.");
  choose_target(path, flags, generation.model, edits);
  edits.images = load_evaluation_data(path, count, generation, asked);
  return edits;
}

EvaluationEdit edit_at(const EvaluationEdits& edits, int64_t index, const Generation& generation) {
  if (!edits.benchmark.empty()) return benchmark_edit(edits.benchmark[index], generation);
  EvaluationEdit result;
  result.name = edits.images.names[index];
  result.pixels = edits.images.images[index];
  result.before = result.after = edits.images.specs[index];
  result.after.prompt = edits.edit_prompt;
  result.after.label = edits.edit_label;
  return result;
}

}  // namespace tiller
