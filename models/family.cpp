#include "models/family.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

struct Row {
  Family family;
  const char* name;
  int64_t context;
  const char *pipeline, *inpainting, *editing, *scheduler;
};

constexpr Row kFamilies[] = {
    {Family::sd1, "SD1.5", 768, "StableDiffusionPipeline", "StableDiffusionInpaintPipeline",
     "StableDiffusionInstructPix2PixPipeline", "PNDMScheduler"},
    {Family::sd2, "SD2", 1024, "StableDiffusionPipeline", "StableDiffusionInpaintPipeline",
     "StableDiffusionInstructPix2PixPipeline", "PNDMScheduler"},
    {Family::sdxl, "SDXL", 2048, "StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline",
     "StableDiffusionXLInstructPix2PixPipeline", "EulerDiscreteScheduler"},
    {Family::refiner, "SDXL refiner", 1280, "StableDiffusionXLImg2ImgPipeline",
     "StableDiffusionXLInpaintPipeline", "StableDiffusionXLInstructPix2PixPipeline",
     "EulerDiscreteScheduler"},
};

const Row& row_of(Family family) { return kFamilies[static_cast<size_t>(family)]; }

}  // namespace

std::string family_name(Family family) { return row_of(family).name; }

std::string family_of_context(int64_t width) {
  for (const auto& row : kFamilies)
    if (row.context == width) return row.name;
  return "";
}

Json index_of(Family family, int64_t in_channels) {
  const Row& row = row_of(family);
  Json index = {{"_class_name", in_channels == 9   ? row.inpainting
                                : in_channels == 8 ? row.editing
                                                   : row.pipeline}};
  if (family == Family::sdxl) index["force_zeros_for_empty_prompt"] = true;
  if (family == Family::refiner)
    index.update({{"force_zeros_for_empty_prompt", false}, {"requires_aesthetics_score", true}});
  return index;
}

nlohmann::json vae_scaling_of(bool xl) {
  return {{"scaling_factor", xl ? 0.13025 : 0.18215}, {"force_upcast", xl}};
}

Json scheduler_config_of(Family family, bool v_prediction, bool zero_snr) {
  const bool ddim = family == Family::sd2 && v_prediction;
  Json config = {{"_class_name", ddim ? "DDIMScheduler" : row_of(family).scheduler},
                 {"beta_start", 0.00085},
                 {"beta_end", 0.012},
                 {"beta_schedule", "scaled_linear"},
                 {"num_train_timesteps", 1000},
                 {"clip_sample", false},
                 {"set_alpha_to_one", false},
                 {"skip_prk_steps", true},
                 {"steps_offset", 1},
                 {"trained_betas", nullptr},
                 {"prediction_type", v_prediction ? "v_prediction" : "epsilon"}};
  if (family == Family::sdxl || family == Family::refiner)
    config.update({{"interpolation_type", "linear"},
                   {"sample_max_value", 1.0},
                   {"timestep_spacing", "leading"},
                   {"use_karras_sigmas", false}});
  if (zero_snr) config.update({{"rescale_betas_zero_snr", true}, {"timestep_spacing", "trailing"}});
  return config;
}

}  // namespace tiller
