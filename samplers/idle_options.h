#pragma once
#include "samplers/registry.h"

namespace tiller {

/// A line for each of a sampler's options that was written and changes nothing: sample_max_value
/// without thresholding, sigma_max where no rule chooses sigmas, and so on. What the model says
/// isn't looked at.
/// text: "key=value,..." as written; options: the same over the model's; config: of the run's
/// levels, before the options are written over it.
std::vector<std::string> idle_options(const Sampler&, const std::string& text,
                                      const Options& options, const NoiseSchedule&,
                                      const TrajectoryConfig& config);

}  // namespace tiller
