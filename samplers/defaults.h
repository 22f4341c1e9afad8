#pragma once
#include "models/model.h"
#include "samplers/registry.h"

namespace tiller {

/// What a run uses where neither the user nor the model says otherwise. guided-diffusion's cosine
/// schedule ends at a sigma of 20,000, where an epsilon says nothing of the image: begin below, as
/// diffusers' lambda_min_clipped and EDM's sigma_max (arXiv 2206.00364) do.
TrajectoryConfig default_trajectory_config(const NoiseSchedule&);

/// ddim; of an EDM model heun.
std::string usual_sampler(const Model&);

/// The sampler's options with the defaults that the model asks for: PFGM++'s D, DDPM's variance.
std::vector<Option> usual_options(const Model&, const Sampler&);

/// What an ADM or EDM model was trained on, by its config.
NoiseSchedule schedule_of(const Model&);

}  // namespace tiller
