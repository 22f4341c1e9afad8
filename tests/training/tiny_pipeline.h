#pragma once
#include <nlohmann/json.hpp>

/// Parts of the config of a pipeline that is trained within seconds.
namespace tiller::test {

inline nlohmann::json tiny_unet(int64_t size, int64_t channels) {
  return {{"sample_size", size},
          {"in_channels", channels},
          {"out_channels", channels},
          {"block_out_channels", {16, 16}},
          {"down_block_types", {"DownBlock2D", "CrossAttnDownBlock2D"}},
          {"up_block_types", {"CrossAttnUpBlock2D", "UpBlock2D"}},
          {"layers_per_block", 1},
          {"attention_head_dim", 2},
          {"norm_num_groups", 8}};
}

inline nlohmann::json tiny_text_encoder() {
  return {{"hidden_size", 16},
          {"intermediate_size", 32},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2}};
}

/// Of images of this side and latents of half of it, in four channels.
inline nlohmann::json tiny_vae(int64_t size) {
  return {{"_class_name", "AutoencoderKL"},
          {"sample_size", size},
          {"latent_channels", 4},
          {"block_out_channels", {8, 8}},
          {"down_block_types", {"DownEncoderBlock2D", "DownEncoderBlock2D"}},
          {"up_block_types", {"UpDecoderBlock2D", "UpDecoderBlock2D"}},
          {"norm_num_groups", 4}};
}

inline nlohmann::json velocity_scheduler() {
  return {{"_class_name", "DDIMScheduler"},
          {"beta_schedule", "squaredcos_cap_v2"},
          {"prediction_type", "v_prediction"},
          {"timestep_spacing", "trailing"},
          {"clip_sample", false}};
}

}  // namespace tiller::test
