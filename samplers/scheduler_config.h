#pragma once
/// diffusers' scheduler_config.json. What a run makes of one:
///
///   const auto setup = read_scheduler_config(json);
///   const Sampler& sampler = find_sampler(name.empty() ? configured_sampler(setup) : name);
///   const auto options = parse_options(where, text, configured_options(setup, sampler));
///   const auto schedule = configured_schedule(setup, sampler);
///   const auto trajectory = sampler.trajectory(schedule, with_options(config, options));
///   require_signal(trajectory, setup.prediction);
///   sampler.run(limited(denoise, options), x, trajectory, options, noise, observer);
#include <nlohmann/json.hpp>
#include <string>

#include "models/prediction.h"
#include "samplers/noise_schedule.h"
#include "samplers/registry.h"

namespace tiller {

/// A scheduler_config.json, checked.
struct SchedulerSetup {
  std::string class_name;  ///< As in the file; "" where it has none.
  PredictionType prediction = PredictionType::epsilon;
  nlohmann::json keys;  ///< What the file says of keys that Tiller knows; each has a valid value.
};

/// Keys of other schedulers are ignored, as diffusers does. Throws Error
/// "scheduler_config.json: KEY: got VALUE, expected EXPECTED." where a known key's value is of the
/// wrong type or out of bounds.
SchedulerSetup read_scheduler_config(const nlohmann::json&);

/// The sampler that the file's `_class_name` stands for. Throws Error when there is none.
std::string configured_sampler(const SchedulerSetup&);

/// The sampler's options with the file's keys as their defaults, as diffusers' `from_config` does:
/// keys that the sampler's diffusers class doesn't take are ignored, and for those that the file
/// lacks that class's own defaults count. Throws Error where a key that the class takes asks for
/// what Tiller doesn't have.
std::vector<Option> configured_options(const SchedulerSetup&, const Sampler&);

/// The noise schedule, by the same rule.
NoiseSchedule configured_schedule(const SchedulerSetup&, const Sampler&);

}  // namespace tiller
