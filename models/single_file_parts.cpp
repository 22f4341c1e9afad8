#include "models/single_file_parts.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "models/ldm_names.h"

namespace tiller {
namespace {

constexpr int64_t kMaxStages = 8, kMaxLayers = 64;

TensorMap renamed(const TensorMap& tensors, const NameMap& names) {
  TensorMap result;
  for (const auto& [name, tensor] : tensors) result.emplace(tiller::renamed(name, names), tensor);
  return result;
}

/// The tensors under the first prefix that holds one of the names; empty when none does.
TensorMap part_under(const TensorFile& file, std::initializer_list<const char*> prefixes,
                     std::initializer_list<const char*> names) {
  for (const std::string prefix : prefixes)
    for (const std::string name : names)
      if (has(file, prefix + name)) return with_prefix(file, prefix);
  return {};
}

/// A weight of the other rank than `dims` becomes a linear layer's or a 1x1 convolution's: mergers
/// write either.
Tensor with_rank(const Tensor& weight, int64_t dims) {
  if (dims == 2 && weight.dim() > 2 && weight.numel() == weight.size(0) * weight.size(1))
    return weight.view({weight.size(0), weight.size(1)});
  if (dims == 4 && weight.dim() == 2) return weight.unsqueeze(-1).unsqueeze(-1);
  return weight;
}

bool is_projection(const std::string& name) {
  return name.ends_with(".proj_in.weight") || name.ends_with(".proj_out.weight");
}

void unify_projections(TensorMap& unet) {
  int64_t dims = 4;
  for (const auto& [name, tensor] : unet)
    if (is_projection(name)) dims = std::min<int64_t>(dims, tensor.dim());
  for (auto& [name, tensor] : unet)
    if (is_projection(name)) tensor = with_rank(tensor, dims);
}

void split_packed(TensorMap& clip, const std::string& name, const Tensor& packed) {
  const auto at = name.find(".in_proj");
  const auto parts = packed.chunk(3, 0);
  for (size_t i = 0; i < parts.size() && i < 3; ++i)
    clip.emplace(name.substr(0, at) + "." + "qkv"[i] + "_proj." + name.substr(at + 9), parts[i]);
}

/// OpenCLIP's projection as a linear layer's weight.
Tensor transposed(const Tensor& projection) {
  return projection.dim() == 2 ? projection.t() : projection;
}

bool is_clip_module(const std::string& name) {
  const auto modules = {"embeddings.", "encoder.", "final_layer_norm."};
  return std::any_of(modules.begin(), modules.end(), [&](const char* module) {
    return name.starts_with(std::string("text_model.") + module);
  });
}

}  // namespace

TensorMap with_prefix(const TensorFile& file, const std::string& prefix) {
  TensorMap found;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with(prefix)) found.emplace(name.substr(prefix.size()), tensor);
  return found;
}

bool has(const TensorMap& tensors, const std::string& name) { return tensors.count(name) > 0; }

bool has(const TensorFile& file, const std::string& name) {
  return std::any_of(file.tensors.begin(), file.tensors.end(),
                     [&](const auto& entry) { return entry.first == name; });
}

TensorMap unet_of(const TensorFile& file) {
  TensorMap unet = part_under(file, {"model.diffusion_model.", "diffusion_model.", "", "unet."},
                              {"input_blocks.0.0.weight", "down_blocks.0.resnets.0.conv1.weight"});
  if (has(unet, "input_blocks.0.0.weight")) {
    int64_t layers = 0, stages = 1;
    while (layers < kMaxLayers &&
           has(unet, "input_blocks." + std::to_string(layers + 1) + ".0.in_layers.2.weight"))
      ++layers;
    while (stages < kMaxStages &&
           has(unet, "input_blocks." + std::to_string(stages * (layers + 1)) + ".0.op.weight"))
      ++stages;
    unet = renamed(unet, ldm_unet_names(stages, layers));
  }
  unify_projections(unet);
  return unet;
}

TensorMap vae_of(const TensorFile& file) {
  const TensorMap all = part_under(
      file, {"first_stage_model.", "vae.", ""},
      {"encoder.down.0.block.0.conv1.weight", "encoder.down_blocks.0.resnets.0.conv1.weight"});
  TensorMap vae;
  for (const auto& [name, tensor] : all)
    for (const char* module : {"encoder.", "decoder.", "quant_conv.", "post_quant_conv."})
      if (name.starts_with(module)) vae.emplace(name, tensor);
  const int64_t stages = count_of(vae, "encoder.down.", ".block.0.conv1.weight", kMaxStages);
  const int64_t layers = count_of(vae, "encoder.down.0.block.", ".conv1.weight", kMaxLayers);
  if (stages) vae = renamed(vae, ldm_vae_names(stages, layers));
  for (auto& [name, tensor] : vae)
    if (name.find(".attentions.") != std::string::npos) tensor = with_rank(tensor, 2);
  return vae;
}

TensorMap clip_of(const TensorMap& tensors, bool with_projection) {
  TensorMap clip;
  for (const auto& [name, tensor] : tensors) {
    const std::string full = name.starts_with("text_model.") ? name : "text_model." + name;
    if (full == "text_model.text_projection") {
      if (with_projection) clip.emplace("text_projection.weight", transposed(tensor));
    } else if (full.find(".in_proj.") != std::string::npos) {
      if (tensor.dim() > 0) split_packed(clip, full, tensor);
    } else if (is_clip_module(full) && !full.ends_with("position_ids")) {
      clip.emplace(full, tensor);
    }
  }
  return clip;
}

TensorMap open_clip_of(const TensorMap& tensors, bool with_projection) {
  const int64_t layers = count_of(tensors, "transformer.resblocks.", ".ln_1.weight", kMaxLayers);
  const bool whole = has(tensors, "text_projection") || has(tensors, "text_projection.weight");
  const int64_t kept = with_projection || !whole ? layers : layers - 1;
  TensorMap clip;
  for (const auto& [name, tensor] : renamed(tensors, open_clip_names(kept))) {
    if (name.find(".in_proj_") != std::string::npos && name.starts_with("text_model.")) {
      if (tensor.dim() > 0) split_packed(clip, name, tensor);
    } else if (name == "text_projection.weight") {
      if (with_projection) clip.emplace(name, has(tensors, name) ? tensor : transposed(tensor));
    } else if (name.starts_with("text_model.")) {
      clip.emplace(name, tensor);
    }
  }
  return clip;
}

}  // namespace tiller
