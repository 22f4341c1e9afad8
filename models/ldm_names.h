#pragma once
/// How the original latent-diffusion (LDM) repositories and OpenCLIP name modules, and how
/// diffusers and transformers name the same ones. Facts: diffusers 0.42.1,
/// loaders/single_file_utils.py.
#include <cstdint>
#include <map>
#include <string>

namespace tiller {

/// Modules' names in the original layout and in diffusers' one, without a trailing dot.
using NameMap = std::map<std::string, std::string>;

/// The name with its longest known prefix of whole words replaced; as it is when none is known.
/// `separator` stands between words.
std::string renamed(const std::string& name, const NameMap&, char separator = '.');

/// A UNet of `stages` resolutions and `layers` resnets a stage on the way down.
NameMap ldm_unet_names(int64_t stages, int64_t layers);
/// An autoencoder, likewise; it counts the stages of its decoder from below.
NameMap ldm_vae_names(int64_t stages, int64_t layers);
/// A text encoder of OpenCLIP, but for its packed in_proj_weight and in_proj_bias.
NameMap open_clip_names(int64_t layers);

}  // namespace tiller
