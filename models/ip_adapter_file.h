#pragma once
#include "models/image_projection.h"
#include "models/ip_adapter.h"
#include "models/model.h"

namespace tiller {

/// An IP-Adapter as its file holds it; strength and images are not yet chosen.
struct LoadedAdapter {
  ImageAttention attention;
  ImageProjection projection;
};

/// Loads h94's files (`image_proj.*` and `ip_adapter.N.to_k_ip.weight`), safetensors or a pickle
/// of two dicts, for a text-to-image model. Throws Error where it is none or of another family.
LoadedAdapter load_ip_adapter(const fs::path& file, const Model&, at::ScalarType dtype,
                              at::Device device);

/// Loads CLIP's vision encoder from a folder with config.json and weights, for states that fit
/// the projection. An empty folder: image_encoder/ beside the adapter's file, in ../models of it
/// (where h94 keeps ViT-H) or in the model's folder, the first that fits. Throws Error.
ClipVision load_image_encoder(const fs::path& folder, const ImageProjection&,
                              const std::vector<fs::path>& usual, at::ScalarType dtype,
                              at::Device device);

/// Tokens of images, side by side, and of as many times no image. All (1, L, D).
struct ImageTokens {
  Tensor image, nothing;
};
ImageTokens image_tokens(const ClipVision&, const ImageProjection&,
                         const std::vector<Tensor>& images);

}  // namespace tiller
