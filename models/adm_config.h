#pragma once
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "models/prediction.h"

namespace tiller {

/// guided-diffusion's model and diffusion flags, with its names and defaults
/// (model_and_diffusion_defaults in its script_util.py). The last six (`augmented` is the key
/// `pfgmpp`), and the key `prediction_type` (as prediction_type_from reads it), are Tiller's own.
struct AdmConfig {
  int64_t image_size = 64;
  int64_t num_channels = 128;
  int64_t num_res_blocks = 2;
  int64_t num_heads = 4;
  int64_t num_heads_upsample = -1;  ///< -1: num_heads.
  int64_t num_head_channels = -1;   ///< -1: by num_heads.
  std::vector<int64_t> attention_resolutions = {16, 8};
  std::vector<double> channel_mult;  ///< Empty: guided-diffusion's for the image size.
  double dropout = 0;
  bool class_cond = false;
  bool use_scale_shift_norm = true;
  bool resblock_updown = false;
  bool use_new_attention_order = false;
  bool learn_sigma = false;
  bool sigma_small = false;  ///< Without learn_sigma, DDPM's variance: the smallest sensible one.
  /// The variational bound's part of the loss is times T / 1000. guided-diffusion's default is
  /// false, what its published models and DDPM-IP's were trained with true.
  bool rescale_learned_sigmas = true;

  int64_t diffusion_steps = 1000;
  std::string noise_schedule = "linear";
  bool zero_terminal_snr = false;  ///< The schedule, moved to end in pure noise (2305.08891).
  PredictionType prediction = PredictionType::epsilon;  ///< `predict_xstart`, `prediction_type`.
  bool rescale_timesteps = false;

  int64_t num_classes = 0;  ///< 0: as many as the label embedding has rows.
  bool null_label = false;  ///< The embedding has a row more, for "no label".
  std::vector<std::string> class_names;
  int64_t in_channels = 3;
  double flow_shift = 1;  ///< Of a flow's sigmas, where `prediction_type` is one.
  int64_t augmented = 0;  ///< PFGM++'s D, where `prediction_type` is edm; 0: EDM.

  static constexpr int64_t most_augmented = 10'000'000;  ///< As samplers take it.

  int64_t out_channels() const { return learn_sigma ? 2 * in_channels : in_channels; }
};

/// Reads a config.json's object; lists may be guided-diffusion's strings ("16,8"). Throws Error
/// naming `file` and the key when a key is unknown, of the wrong type or out of bounds.
AdmConfig adm_config(const nlohmann::json&, const std::string& file);

}  // namespace tiller
