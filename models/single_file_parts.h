#pragma once
/// The networks that lie in one file, under the names that diffusers and transformers give their
/// tensors. All are views of the file's.
#include "models/derived_config.h"

namespace tiller {

/// The tensors whose names begin with `prefix`, without it.
TensorMap with_prefix(const TensorFile&, const std::string& prefix);
bool has(const TensorMap&, const std::string& name);
bool has(const TensorFile&, const std::string& name);

/// The UNet in diffusers' names; empty when there is none. It may have these already.
TensorMap unet_of(const TensorFile& file);

/// The autoencoder in diffusers' names, without the discriminator that was trained with it.
TensorMap vae_of(const TensorFile& file);

/// transformers' names of a CLIP that lacks only the outermost word, as the oldest files do, or
/// that stable-diffusion.cpp renamed from OpenCLIP's: that packs queries, keys and values still.
TensorMap clip_of(const TensorMap& tensors, bool with_projection);

/// transformers' names of an OpenCLIP. The last of SD2's layers is dropped: SD2 reads the one
/// before it, and its published config has one less. A file that was written back from diffusers'
/// layout lacks that layer, and the projection too.
TensorMap open_clip_of(const TensorMap& tensors, bool with_projection);

}  // namespace tiller
