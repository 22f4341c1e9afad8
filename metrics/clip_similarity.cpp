#include "metrics/clip_similarity.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/diffusers_folder.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

/// One tower's config, with the width that both project to.
Json part_of(const Json& config, const char* key, const fs::path& folder) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_object())
    throw Error((folder / "config.json").string() + ": got no " + key +
                ", expected a whole CLIP with a tower for images and one for texts.");
  Json part = *found;
  if (config.contains("projection_dim")) part["projection_dim"] = config["projection_dim"];
  return part;
}

TensorFile starting_with(const NamedTensors& tensors, std::initializer_list<const char*> starts) {
  TensorFile result;
  for (const auto& entry : tensors)
    for (const char* start : starts)
      if (entry.first.starts_with(start)) result.tensors.push_back(entry);
  return result;
}

Tensor of_unit_length(const Tensor& x) {
  const Tensor wide = x.to(at::kCPU, at::kDouble);
  return wide / wide.norm();
}

}  // namespace

ClipSimilarity::ClipSimilarity(const fs::path& folder, at::Device device) : device_(device) {
  const Component clip = component_in(folder);
  const Json vision = part_of(clip.config, "vision_config", folder);
  const Json text = part_of(clip.config, "text_config", folder);
  Weights images(starting_with(clip.tensors, {"vision_model.", "visual_projection."}), clip.file,
                 at::kFloat, device);
  vision_.emplace(vision, images);
  images.finish();
  Weights texts(starting_with(clip.tensors, {"text_model.", "text_projection."}), clip.file,
                at::kFloat, device);
  text_.emplace(text, texts);
  texts.finish();
  tokenizer_.emplace(read_clip_vocabulary(folder));
}

Tensor ClipSimilarity::image_embedding(const Tensor& image) const {
  return vision_->encode(clip_pixels(image, vision_->image_size())).pooled;
}

Tensor ClipSimilarity::text_embedding(const std::string& text) const {
  const TokenizedPrompt prompt = tokenize_plain(*tokenizer_, text);
  return text_->encode(chunk_ids(prompt.chunks).to(device_)).pooled;
}

double ClipSimilarity::operator()(const Tensor& image, const std::string& text) const {
  return 100 * (of_unit_length(image_embedding(image)) * of_unit_length(text_embedding(text)))
                   .sum()
                   .item<double>();
}

}  // namespace tiller
