#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <set>

#include "io/error.h"
#include "models/derived_config.h"
#include "models/family.h"
#include "models/ldm_names.h"
#include "models/lora.h"
#include "models/lora_factors.h"
#include "models/lora_names.h"

namespace tiller {
namespace {

/// A parameter and all that is added to it.
struct Change {
  Tensor parameter;
  std::vector<std::pair<const LoraDelta*, double>> deltas;
};

bool fits(const LoraDelta& delta, const Tensor& parameter) {
  if (parameter.dim() < 1 || delta.shape.rows != parameter.size(0) ||
      delta.shape.rows * delta.shape.columns != parameter.numel())
    return false;
  const Tensor& lengths = delta.magnitude;
  return !lengths.defined() ||
         (parameter.dim() > 1 && (lengths.size(0) == parameter.size(0) ||
                                  (lengths.size(0) == 1 && lengths.size(1) == parameter.size(1))));
}

/// Module names in the original layout, with '_' between words, and diffusers' ones.
NameMap underscored_ldm_names(const TensorMap& unet) {
  const int64_t stages = count_of(unet, "down_blocks.", ".resnets.0.conv1.weight");
  const int64_t layers = count_of(unet, "down_blocks.0.resnets.", ".conv1.weight");
  NameMap names;
  for (const auto& [ldm, diffusers] : ldm_unet_names(stages, layers))
    names[with_underscores(ldm)] = with_underscores(diffusers);
  return names;
}

/// Parameters by module, as LoRAs spell it; biases by MODULE.bias.
std::map<std::string, Tensor> by_module(const NamedTensors& parameters, bool is_text) {
  const std::string outer = "text_model.";
  std::map<std::string, Tensor> modules;
  for (const auto& [name, tensor] : parameters) {
    const size_t dot = name.rfind('.');
    const std::string kind = dot == name.npos ? "" : name.substr(dot);
    if (kind != ".weight" && kind != ".bias") continue;
    std::string module = name.substr(0, dot);
    if (is_text && module.starts_with(outer)) module.erase(0, outer.size());
    modules[with_underscores(module) + (kind == ".bias" ? kind : "")] = tensor;
  }
  return modules;
}

/// The module as diffusers calls it.
std::string module_of(const std::string& name, const NameMap& ldm) {
  const size_t dot = name.find('.');
  return renamed(name.substr(0, dot), ldm, '_') + (dot == name.npos ? "" : name.substr(dot));
}

std::string family_or_width(int64_t width) {
  const std::string family = family_of_context(width);
  return family.empty() ? "for text of width " + std::to_string(width) : family;
}

/// A LoRA of another family fits nowhere: say so rather than list its shapes.
void check_family(const Lora& lora, const TensorMap& unet) {
  const int64_t expected = context_width_of(unet);
  for (const auto& [module, delta] : lora.parts.at("unet")) {
    const int64_t width = delta.shape.columns;
    if (module.ends_with("attn2_to_k") && expected && width != expected)
      throw Error(lora.file + ": this LoRA is " + family_or_width(width) + ", the model is " +
                  family_or_width(expected) + ".");
  }
}

/// Adds the LoRA's changes of the part to those of the parameters.
void collect(const WeightedLora& item, const std::string& part, const NameMap& ldm,
             const std::map<std::string, Tensor>& modules, std::map<std::string, Change>& changes) {
  const Lora& lora = *item.lora;
  const auto& deltas = lora.parts.at(part);
  std::vector<std::string> unknown, misshapen;
  for (const auto& [name, delta] : deltas) {
    const std::string module = module_of(name, ldm);
    if (module != name && deltas.count(module)) continue;  // the file has it in both layouts
    const auto found = modules.find(module);
    if (found == modules.end()) {
      unknown.push_back(name);
    } else if (!fits(delta, found->second)) {
      misshapen.push_back(name);
    } else if (item.weight != 0) {
      changes[module].parameter = found->second;
      changes[module].deltas.emplace_back(&delta, item.weight);
    }
  }
  std::string text;
  if (!unknown.empty()) text = "for unknown modules: " + enumerate(unknown, 4);
  if (!misshapen.empty())
    text += (text.empty() ? "" : "; ") +
            ("of other shapes than the model's: " + enumerate(misshapen, 4));
  if (!text.empty())
    throw Error(lora.file + ": got changes of the " + part + " that don't fit the model, " + text +
                ".");
}

/// The weight with the change, its rows or columns stretched to the lengths of the magnitude.
Tensor stretched(const Tensor& changed, const Tensor& magnitude) {
  const Tensor flat = changed.reshape({changed.size(0), changed.size(1), -1});
  const bool rows = magnitude.size(0) == flat.size(0);
  const Tensor lengths = flat.square().sum(rows ? at::IntArrayRef{1, 2} : at::IntArrayRef{0, 2},
                                           /*keepdim=*/true);
  return (flat * (magnitude.to(flat.device(), at::kFloat) / lengths.sqrt().add(1e-12)))
      .view_as(changed);
}

void merge(const Change& change) {
  Tensor sum = change.parameter.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  for (const auto& [delta, weight] : change.deltas) {
    const Tensor product = lora_product(delta->factors).view(sum.sizes()).to(sum.device());
    if (!delta->magnitude.defined()) {
      sum.add_(product, weight * delta->scale);
      continue;
    }
    const Tensor original = change.parameter.to(at::kFloat);
    sum.add_(stretched(original.add(product, weight * delta->scale), delta->magnitude) - original);
  }
  change.parameter.copy_(sum);
}

}  // namespace

Originals merge_loras(const NamedTensors& parameters, const std::string& part,
                      const std::vector<WeightedLora>& loras) {
  const at::NoGradGuard no_grad;
  const bool is_unet = part == "unet";
  const TensorMap all(parameters.begin(), parameters.end());
  const auto modules = by_module(parameters, !is_unet);
  const NameMap ldm = is_unet ? underscored_ldm_names(all) : NameMap{};
  std::map<std::string, Change> changes;
  for (const auto& item : loras) {
    if (!item.lora->parts.count(part)) continue;
    if (is_unet) check_family(*item.lora, all);
    collect(item, part, ldm, modules, changes);
  }
  Originals originals;
  for (const auto& [module, change] : changes)
    originals.emplace_back(change.parameter, change.parameter.clone());
  for (const auto& [module, change] : changes) merge(change);
  return originals;
}

void remove_loras(const Originals& originals) {
  const at::NoGradGuard no_grad;
  for (const auto& [parameter, original] : originals) parameter.copy_(original);
}

}  // namespace tiller
