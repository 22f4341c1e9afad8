#pragma once
/// A pipeline's parts under the names of the original layouts: the way back from what loading does.
#include "models/ldm_names.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {

inline NamedTensors renamed_back(const NamedTensors& tensors, const NameMap& names,
                                 const std::string& prefix) {
  NameMap back;
  for (const auto& [ldm, diffusers] : names) back.emplace(diffusers, ldm);
  NamedTensors result;
  for (const auto& [name, tensor] : tensors)
    result.emplace_back(prefix + renamed(name, back), tensor);
  return result;
}

/// OpenCLIP packs queries, keys and values, and stores the projection transposed.
inline NamedTensors open_clip_layout(const NamedTensors& tensors, const std::string& prefix) {
  const std::map<std::string, Tensor> all(tensors.begin(), tensors.end());
  NameMap names = open_clip_names(8);
  names.erase("text_projection.weight");
  NamedTensors plain, result;
  for (const auto& [name, tensor] : tensors) {
    const size_t at = name.find("q_proj.");
    if (name == "text_projection.weight") {
      plain.emplace_back(name, tensor.t().contiguous());
    } else if (at != std::string::npos) {
      const std::string start = name.substr(0, at), end = name.substr(at + 7);
      plain.emplace_back(start + "in_proj_" + end, at::cat({tensor, all.at(start + "k_proj." + end),
                                                            all.at(start + "v_proj." + end)}));
    } else if (name.find("k_proj.") == name.npos && name.find("v_proj.") == name.npos) {
      plain.emplace_back(name, tensor);
    }
  }
  return renamed_back(plain, names, prefix);
}

/// SD2's text encoder as its checkpoints have it: with the last layer and the projection of
/// OpenCLIP, which the pipeline leaves out.
inline NamedTensors with_unused_layer(const NamedTensors& tensors) {
  const std::string first = "encoder.layers.0.", last = "text_model.encoder.layers.3.";
  NamedTensors result;
  for (const auto& [name, tensor] : tensors) {
    result.emplace_back("text_model." + name, tensor);
    if (name.starts_with(first))
      result.emplace_back(last + name.substr(first.size()), at::full_like(tensor, 0.5));
    if (name == "final_layer_norm.weight")
      result.emplace_back("text_projection.weight", at::eye(tensor.size(0)));
  }
  return result;
}

inline void append(NamedTensors& all, NamedTensors more) {
  for (auto& entry : more) all.push_back(std::move(entry));
}

/// Tiny pipelines that are stored as one file, too.
class SingleFiles : public Pipelines {
 protected:
  /// Everything of a pipeline, as an original checkpoint has it.
  NamedTensors ldm_tensors(const std::string& family) const {
    const int64_t stages = 2, vae_stages = 4, layers = 1;
    NamedTensors all = renamed_back(tensors_of(family + "/unet"), ldm_unet_names(stages, layers),
                                    "model.diffusion_model.");
    append(all, renamed_back(tensors_of(family + "/vae"), ldm_vae_names(vae_stages, layers),
                             "first_stage_model."));
    const bool xl = family == "sdxl";
    if (family == "sd2")
      append(all, open_clip_layout(with_unused_layer(tensors_of("sd2/text_encoder")),
                                   "cond_stage_model.model."));
    else
      append(all, renamed_back(tensors_of(family + "/text_encoder"), {},
                               xl ? "conditioner.embedders.0.transformer.text_model."
                                  : "cond_stage_model.transformer.text_model."));
    if (xl)
      append(all, open_clip_layout(tensors_of(family + "/text_encoder_2"),
                                   "conditioner.embedders.1.model."));
    return all;
  }
};

}  // namespace tiller::test
