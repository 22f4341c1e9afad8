#include <ATen/ATen.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "io/error.h"
#include "io/json.h"
#include "models/family.h"
#include "models/lora.h"
#include "models/textual_inversion.h"
#include "tools/info.h"
#include "tools/table.h"

namespace tiller {
namespace {

/// What a LoRA changes of one part.
struct LoraPart {
  int64_t modules = 0;
  std::map<std::string, int64_t> layers;  ///< Modules by what they are.
};

bool is_convolution(const std::string& module, const LoraDelta& delta) {
  for (const auto& [name, factor] : delta.factors)
    if (factor.dim() == 4 && factor.size(2) > 1) return true;
  return module.find("conv") != std::string::npos && !module.ends_with("shortcut");
}

std::string layer_of(const std::string& module, const LoraDelta& delta) {
  if (delta.shape.columns == 1) return "norms and biases";
  if (module.find("attn") != std::string::npos) return "attention";
  if (module.find("_ff_") != std::string::npos || module.find("mlp") != std::string::npos)
    return "feed-forward";
  return is_convolution(module, delta) ? "convolutions" : "others";
}

std::string kind_of(const LoraDelta& delta) {
  const std::string first = delta.factors.begin()->first;
  const std::string kind = first.starts_with("hada")   ? "LoHa"
                           : first.starts_with("lokr") ? "LoKr"
                           : first == "diff"           ? "whole changes"
                                                       : "LoRA";
  return delta.magnitude.defined() ? "DoRA" + (kind == "LoRA" ? "" : " of " + kind) : kind;
}

struct LoraSummary {
  std::map<std::string, LoraPart> parts;
  std::set<std::string> kinds;
  int64_t least_rank = 0, largest_rank = 0;  ///< 0: nothing is factored.
};

LoraSummary summary_of(const Lora& lora) {
  LoraSummary summary;
  for (const auto& [part, deltas] : lora.parts)
    for (const auto& [module, delta] : deltas) {
      ++summary.parts[part].modules;
      ++summary.parts[part].layers[layer_of(module, delta)];
      summary.kinds.insert(kind_of(delta));
      const int64_t rank = delta.shape.rank;
      if (rank == 0) continue;
      summary.largest_rank = std::max(summary.largest_rank, rank);
      summary.least_rank = summary.least_rank ? std::min(summary.least_rank, rank) : rank;
    }
  return summary;
}

std::string text_of(const LoraPart& part) {
  std::string text = std::to_string(part.modules) + " modules: ";
  const char* separator = "";
  for (const auto& [layer, count] : part.layers) {
    text += separator + layer + " " + std::to_string(count);
    separator = ", ";
  }
  return text;
}

void show_lora(const fs::path& path, bool as_json) {
  const Lora lora = load_lora(path);
  const std::string family = lora_family(lora);
  const LoraSummary summary = summary_of(lora);
  if (as_json) {
    Json parts = Json::object();
    for (const auto& [name, part] : summary.parts)
      parts[name] = {{"modules", part.modules}, {"layers", part.layers}};
    const Json json = {{"kind", "lora"},
                       {"file", path.filename().string()},
                       {"family", family},
                       {"kinds", summary.kinds},
                       {"rank", {summary.least_rank, summary.largest_rank}},
                       {"parts", parts}};
    std::cout << indented(json) << "\n";
    return;
  }
  const std::string least = std::to_string(summary.least_rank),
                    largest = std::to_string(summary.largest_rank);
  std::vector<std::vector<std::string>> rows = {
      {"kind", enumerate({summary.kinds.begin(), summary.kinds.end()})},
      {"family", family.empty() ? "can't be told" : family}};
  if (summary.largest_rank)
    rows.push_back({"rank", least == largest ? least : least + " to " + largest});
  for (const auto& [name, part] : summary.parts) rows.push_back({name, text_of(part)});
  std::cout << table(rows);
}

void show_inversion(const fs::path& path, bool as_json) {
  const TextualInversion inversion = read_textual_inversion(path);
  std::vector<int64_t> widths = {inversion.vectors.size(1)};
  if (inversion.vectors_2.defined()) widths.push_back(inversion.vectors_2.size(1));
  const std::string family =
      widths.size() > 1 ? family_name(Family::sdxl) : family_of_context(widths.front());
  const int64_t vectors = inversion.vectors.size(0);
  if (as_json) {
    const Json json = {{"kind", "textual_inversion"},
                       {"file", path.filename().string()},
                       {"token", inversion.token},
                       {"vectors", vectors},
                       {"widths", widths},
                       {"family", family}};
    std::cout << indented(json) << "\n";
    return;
  }
  std::string width = std::to_string(widths.front());
  if (widths.size() > 1) width += " and " + std::to_string(widths.back());
  std::cout << table({{"kind", "textual inversion"},
                      {"token", inversion.token},
                      {"vectors", std::to_string(vectors) + " of width " + width},
                      {"family", family.empty() ? "can't be told" : family}});
}

bool is_lora(const NamedTensors& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const auto& entry) {
    for (const char* mark : {".lora_", "_lora.", ".lora.", ".hada_w", ".lokr_w"})
      if (entry.first.find(mark) != std::string::npos) return true;
    for (const char* end : {".diff", ".diff_b", ".w_norm", ".b_norm"})
      if (entry.first.ends_with(end)) return true;
    return false;
  });
}

/// Embeddings go by these names, by a token in angle brackets, or have a text encoder's width.
bool is_inversion(const NamedTensors& tensors) {
  const auto& [name, tensor] = tensors.front();
  if (tensors.size() == 2) return name == "clip_l" || name == "clip_g";
  if (tensors.size() != 1 || tensor.dim() < 1 || tensor.dim() > 2) return false;
  for (const char* usual : {"emb_params", "*", "clip_l", "clip_g"})
    if (name == usual) return true;
  return name.starts_with('<') || !family_of_context(tensor.size(-1)).empty();
}

}  // namespace

bool show_adapter(const fs::path& path, const NamedTensors& tensors, bool as_json) {
  if (is_lora(tensors))
    show_lora(path, as_json);
  else if (is_inversion(tensors))
    show_inversion(path, as_json);
  else
    return false;
  return true;
}

}  // namespace tiller
