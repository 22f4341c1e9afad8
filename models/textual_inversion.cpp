#include "models/textual_inversion.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"

namespace tiller {
namespace {

constexpr int64_t max_vectors = 75;

const Tensor* find(const NamedTensors& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  return found == tensors.end() ? nullptr : &found->second;
}

Tensor checked(const Tensor& tensor, const std::string& file) {
  const bool fits = tensor.is_floating_point() && (tensor.dim() == 1 || tensor.dim() == 2) &&
                    tensor.numel() > 0 && (tensor.dim() == 1 || tensor.size(0) <= max_vectors);
  if (!fits)
    throw Error(file + ": got a tensor of shape " + c10::str(tensor.sizes()) + " and type " +
                c10::toString(tensor.scalar_type()) + ", expected an embedding of 1 to " +
                std::to_string(max_vectors) + " vectors.");
  const Tensor rows = (tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor).to(at::kFloat).clone();
  if (!rows.isfinite().all().item<bool>())
    throw Error(file + ": got an embedding with NaN or infinity, expected numbers.");
  return rows;
}

std::string family(int64_t width, int64_t width_2) {
  if (width_2) return "SDXL's " + std::to_string(width) + " and " + std::to_string(width_2);
  const std::string name = width == 768 ? "SD1's " : width == 1024 ? "SD2's " : "";
  return name + std::to_string(width);
}

int64_t width_of(const Tensor& rows) { return rows.defined() ? rows.size(1) : 0; }

}  // namespace

TextualInversion read_textual_inversion(const fs::path& path, const std::string& token) {
  const std::string file = path.string();
  const NamedTensors tensors = load_tensors(path).tensors;
  TextualInversion result{token.empty() ? path.stem().string() : token, {}, {}, file};
  if (const Tensor* first = find(tensors, "clip_l"), *second = find(tensors, "clip_g");
      first && second) {
    result.vectors = checked(*first, file);
    result.vectors_2 = checked(*second, file);
    if (result.vectors.size(0) != result.vectors_2.size(0))
      throw Error(file + ": got " + std::to_string(result.vectors.size(0)) +
                  " vectors in clip_l and " + std::to_string(result.vectors_2.size(0)) +
                  " in clip_g, expected as many.");
    return result;
  }
  if (tensors.size() != 1)
    throw Error(file + ": got " + std::to_string(tensors.size()) +
                " tensors, expected a textual inversion: one, or clip_l and clip_g.");
  const auto& [name, tensor] = tensors.front();
  result.vectors = checked(tensor, file);
  const bool is_token = name != "*" && name != "emb_params" && name != "clip_l";
  if (token.empty() && is_token) result.token = name;
  return result;
}

void check_width(const TextualInversion& inversion, int64_t width, int64_t width_2) {
  const int64_t found = width_of(inversion.vectors), found_2 = width_of(inversion.vectors_2);
  if (found != width || found_2 != width_2)
    throw Error(inversion.file + ": this embedding is " + family(found, found_2) +
                ", the model's is " + family(width, width_2) +
                ": got one that was trained for another family, expected one for this model.");
}

Tensor add_textual_inversions(ClipTokenizer& tokenizer,
                              const std::vector<TextualInversion>& inversions, int64_t first,
                              TextEncoderPart part) {
  std::vector<Tensor> rows;
  for (const auto& inversion : inversions) {
    const bool is_first = part == TextEncoderPart::first;
    rows.push_back(is_first ? inversion.vectors : inversion.vectors_2);
    tokenizer.add_placeholder(inversion.token, first, rows.back().size(0));
    first += rows.back().size(0);
  }
  return rows.empty() ? Tensor() : at::cat(rows);
}

}  // namespace tiller
