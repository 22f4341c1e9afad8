#include "tools/adapters.h"

#include <charconv>
#include <cmath>
#include <list>

#include "io/error.h"
#include "models/family.h"
#include "models/lora.h"
#include "models/textual_inversion.h"

namespace tiller {
namespace {

constexpr double largest_weight = 100;

double weight_from(const std::string& text, const std::string& given) {
  if (given.empty()) return 1;
  double weight = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), weight);
  const bool whole = error == std::errc() && end == given.data() + given.size();
  if (!whole || !(std::abs(weight) <= largest_weight))
    throw UsageError("--lora: got '" + text + "', expected FILE or FILE:WEIGHT, such as " +
                     "style.safetensors:0.8.");
  return weight;
}

std::string model_family(const Model& model) {
  const auto width = model.config.find("cross_attention_dim");
  return width != model.config.end() && width->is_number_integer() ? family_of_context(*width) : "";
}

/// The model's tensors that a LoRA's part changes; null where the model lacks the part.
const NamedTensors* parameters_of(const Model& model, const std::string& part) {
  if (part == "unet") return &model.parameters;
  for (const auto& tower : model.text->towers)
    if (tower.part == part) return &tower.parameters;
  return nullptr;
}

/// What a LoRA of text encoders alone doesn't tell by the UNet's shapes.
void check_family(const Lora& lora, const Model& model) {
  const std::string own = model_family(model), other = lora_family(lora);
  if (!own.empty() && !other.empty() && own != other)
    throw Error(lora.file + ": this LoRA is " + other + ", the model is " + own + ".");
  for (const auto& [part, deltas] : lora.parts)
    if (!parameters_of(model, part))
      throw Error(lora.file + ": got changes of a " + part + ", expected a LoRA for a model " +
                  "without one" + (own.empty() ? "." : ": the model is " + own + "."));
}

void merge_requested(const Model& model, const std::vector<std::string>& requests) {
  std::list<Lora> loras;
  std::vector<WeightedLora> weighted;
  for (const auto& text : requests) {
    const AdapterFile named = adapter_file(text);
    const double weight = weight_from(text, named.rest);
    loras.push_back(load_lora(named.file));
    check_family(loras.back(), model);
    weighted.push_back({&loras.back(), weight});
  }
  merge_loras(model.parameters, "unet", weighted);
  for (const auto& tower : model.text->towers) merge_loras(tower.parameters, tower.part, weighted);
}

void add_inversions(TextModel& text, const std::vector<std::string>& requests) {
  const auto width = [](const TextTower& tower) { return tower.encoder.config().layer.channels; };
  auto& towers = text.towers;
  std::vector<TextualInversion> inversions;
  for (const auto& request : requests) {
    const AdapterFile named = adapter_file(request);
    inversions.push_back(read_textual_inversion(named.file, named.rest));
    TextualInversion& inversion = inversions.back();
    if (towers.size() == 1 && text.xl && inversion.vectors_2.defined())
      inversion.vectors = std::exchange(inversion.vectors_2, {});  // the refiner has no CLIP-L
    check_width(inversion, width(towers[0]), towers.size() > 1 ? width(towers[1]) : 0);
  }
  for (size_t i = 0; i < towers.size(); ++i)
    towers[i].extra = add_textual_inversions(
        towers[i].tokenizer, inversions, towers[i].encoder.config().vocabulary,
        i == 0 ? TextEncoderPart::first : TextEncoderPart::second);
}

}  // namespace

AdapterFile adapter_file(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || fs::exists(text)) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

void add_adapters(Model& model, const AdapterRequest& request) {
  if (!model.text) return;
  merge_requested(model, request.loras);
  add_inversions(*model.text, request.textual_inversions);
}

}  // namespace tiller
