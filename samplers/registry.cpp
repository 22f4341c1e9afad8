#include "samplers/registry.h"

#include "io/error.h"

namespace tiller {

/// One line a sampler: X(name) lists what `Sampler name_sampler()` in the sampler's own file
/// returns.
#define TILLER_SAMPLERS(X) \
  X(ddim)                  \
  X(ddpm)                  \
  X(euler)                 \
  X(euler_ancestral)       \
  X(heun)                  \
  X(dpmpp_2m)              \
  X(dpmpp_2m_karras)

#define TILLER_DECLARE(name) Sampler name##_sampler();
TILLER_SAMPLERS(TILLER_DECLARE)
#undef TILLER_DECLARE

namespace {

std::vector<Sampler> all_samplers() {
#define TILLER_ENTRY(name) name##_sampler(),
  std::vector<Sampler> all = {TILLER_SAMPLERS(TILLER_ENTRY)};
#undef TILLER_ENTRY
  for (auto& sampler : all)
    sampler.options.insert(sampler.options.end(), trajectory_options().begin(),
                           trajectory_options().end());
  return all;
}

}  // namespace

const std::vector<Sampler>& samplers() {
  static const std::vector<Sampler> all = all_samplers();
  return all;
}

const Sampler& find_sampler(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& sampler : samplers()) {
    if (sampler.name == name) return sampler;
    names.push_back(sampler.name);
  }
  throw UsageError("sampler: got '" + name + "', expected one of " + enumerate(names) + "." +
                   suggestion(name, names));
}

const std::vector<Option>& trajectory_options() {
  static const std::vector<Option> options = {
      {"spacing", "", "leading, trailing or linspace; else the model's or the sampler's own"},
      {"sigmas", "", "none, karras or exponential, for samplers that choose their sigmas"},
      {"offset", "", "added to leading timesteps"},
      {"final", "", "zero or sigma_min: where the sigmas end"},
      {"sigma_min", "", "smallest sigma of karras and exponential"},
      {"sigma_max", "", "largest sigma of karras and exponential"},
      {"rho", "7", "exponent of karras"},
      {"strict", "false", "reproduce diffusers where Tiller does better"}};
  return options;
}

TrajectoryConfig with_options(TrajectoryConfig config, const Options& options) {
  if (options.has("spacing")) config.spacing = spacing_from(options.text("spacing"));
  if (options.has("sigmas")) config.sigmas = sigma_rule_from(options.text("sigmas"));
  if (options.has("offset")) config.steps_offset = static_cast<int>(options.integer("offset"));
  if (options.has("final"))
    config.final_sigma_zero = options.choice("final", {"zero", "sigma_min"}) == "zero";
  if (options.has("sigma_min")) config.sigma_min = options.number("sigma_min", 1e-6, 1e6);
  if (options.has("sigma_max")) config.sigma_max = options.number("sigma_max", 1e-6, 1e6);
  if (options.has("rho")) config.rho = options.number("rho", 0.1, 100);
  if (options.has("strict")) config.strict = options.flag("strict");
  return config;
}

}  // namespace tiller
