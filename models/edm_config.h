#pragma once
#include <nlohmann/json.hpp>

#include "models/edm_preconditioning.h"

namespace tiller {

/// A network of EDM's authors (arXiv 2206.00364) or PFGM++'s (2302.04265) and what it is wrapped
/// in, with their code's names. Defaults are SongUNet's.
struct EdmConfig {
  bool dhariwal = false;  ///< DhariwalUNet, which is ADM; else SongUNet: DDPM++ or NCSN++.
  int64_t img_resolution = 0;
  int64_t img_channels = 3;
  int64_t label_dim = 0;  ///< Classes; 0: unconditional.
  int64_t model_channels = 128;
  int64_t channel_mult_emb = 4;  ///< Width of the embedding, in model_channels.
  int64_t num_blocks = 4;        ///< Residual blocks a level.
  std::vector<int64_t> channel_mult = {1, 2, 2, 2};
  std::vector<int64_t> attn_resolutions = {16};
  double label_dropout = 0;  ///< Share of the training without a label.

  bool fourier = false;            ///< SongUNet: random frequencies for the noise level.
  int64_t channel_mult_noise = 1;  ///< SongUNet: width of its waves, in model_channels.
  bool residual = false;           ///< SongUNet: the image is fed to each level on the way down.
  std::vector<double> resample_filter = {1, 1};

  EdmPreconditioner preconditioner;
  double sigma_min = 0.002, sigma_max = 80;  ///< That the network knows; else EDM's usual ones.
  int64_t augmented = 0;                     ///< PFGM++'s D; 0: EDM.
  std::vector<std::string> class_names;

  /// Channels of the network's own output: iddpm's knows a variance, which is dropped.
  int64_t out_channels() const {
    return preconditioner.kind == EdmPreconditioner::Kind::iddpm ? 2 * img_channels : img_channels;
  }
  bool attends(int64_t resolution) const;
};

/// Whether a config.json is one of these networks'.
bool is_edm_config(const nlohmann::json&);
/// Reads a config.json's object. Throws Error naming the key when one is unknown, of the wrong type
/// or out of bounds.
EdmConfig edm_config(const nlohmann::json&);

}  // namespace tiller
