#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace tiller {

/// A stage of the UNet: resnets of one width, each followed by a stack of transformer blocks where
/// the stage attends to the text.
struct UNet2DStage {
  int64_t channels = 0;
  int64_t resnets = 0;
  std::vector<int64_t> depths;  ///< Transformer blocks of each stack; empty without attention.
  int64_t heads = 0;
};

/// What diffusers' UNet2DConditionModel reads from its config.json, with per-stage lists written
/// out.
struct UNet2DConfig {
  int64_t in_channels = 4, out_channels = 4;
  std::vector<UNet2DStage> down, up;  ///< In execution order.
  std::optional<UNet2DStage> mid;     ///< `resnets` counts the one before the first stack too.
  int64_t context_channels = 1280;    ///< D of Conditioning::context.
  int64_t norm_groups = 32;
  double norm_eps = 1e-5;
  int64_t conv_in_kernel = 3, conv_out_kernel = 3;
  bool pad_before_downsampling =
      true;                        ///< downsample_padding 1; false: 0, which pads right and below.
  bool linear_projection = false;  ///< Else the stacks' projections are stored as 1x1 convolutions.
  bool scale_shift = false;        ///< The time embedding scales and shifts the second norm.
  bool center_input = false;       ///< The network reads 2 x - 1.
  double mid_scale = 1;            ///< Divides the outputs of the mid stage's resnets.
  double dropout = 0;

  int64_t time_channels = 0;     ///< Width of the time embedding.
  int64_t class_embeddings = 0;  ///< num_class_embeds: rows that labels choose; 0: none.
  bool sin_first = false;        ///< flip_sin_to_cos = false.
  double frequency_shift = 0;
  int64_t guidance_channels = 0;  ///< time_cond_proj_dim; 0: none.
  int64_t time_id_channels = 0;   ///< Width of each time id's embedding (SDXL); 0: none.
  int64_t added_channels = 0;     ///< Pooled text and embedded time ids together.
};

/// Reads and checks a config.json. Null stands for a key's default. Throws Error naming the key
/// when a value is malformed, out of range or of an option that isn't supported. Source: diffusers
/// 0.42.1, UNet2DConditionModel.__init__ (where attention_head_dim is the number of heads).
UNet2DConfig unet2d_config(const nlohmann::json&);

/// The key sample_size: height and width of the latents that the UNet was trained on; 64 where it
/// is null or absent. Throws Error.
std::pair<int64_t, int64_t> unet2d_sample_size(const nlohmann::json&);

}  // namespace tiller
