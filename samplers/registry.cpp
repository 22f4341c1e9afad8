#include "samplers/registry.h"

#include <algorithm>

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
  X(dpm2)                  \
  X(dpm2_ancestral)        \
  X(dpmpp_2m)              \
  X(dpmpp_2m_karras)       \
  X(dpmpp_3m)              \
  X(dpmpp_2s)              \
  X(dpmpp_3s)              \
  X(dpmpp_2m_sde)          \
  X(dpmpp_3m_sde)          \
  X(dpmpp_sde)             \
  X(dpmpp_2s_ancestral)    \
  X(res_multistep)         \
  X(res_multistep_a)       \
  X(er_sde)                \
  X(restart)               \
  X(unipc)                 \
  X(deis)                  \
  X(sa_solver)             \
  X(pndm)                  \
  X(lms)                   \
  X(ipndm)                 \
  X(ipndm_v)               \
  X(gradient_estimation)   \
  X(lcm)                   \
  X(tcd)                   \
  X(bdia)                  \
  X(bdia_edm)              \
  X(edict)                 \
  X(o_belm)                \
  X(rex)                   \
  X(exact_dpmpp)           \
  X(aidi)                  \
  X(fpi)                   \
  X(renoise)               \
  X(npi)                   \
  X(null_text)             \
  X(direct)                \
  X(ddpm_inversion)        \
  X(ledits)

#define TILLER_DECLARE(name) Sampler name##_sampler();
TILLER_SAMPLERS(TILLER_DECLARE)
#undef TILLER_DECLARE

namespace {

/// Appends the shared options but for those of which the sampler has its own default.
void add_shared_options(std::vector<Option>& options) {
  const auto own = options;
  for (const auto& shared : trajectory_options()) {
    const auto same = [&](const Option& option) { return option.name == shared.name; };
    if (std::none_of(own.begin(), own.end(), same)) options.push_back(shared);
  }
}

/// A rule, or the sigmas themselves.
TrajectoryConfig with_sigmas(TrajectoryConfig config, const std::string& text) {
  if (text.find_first_of("0123456789.") != 0) {
    config.sigmas = sigma_rule_from(text);
    return config;
  }
  config.sigmas = SigmaRule::listed;
  config.sigma_list = sigma_list_from(text);
  config.steps = static_cast<int>(config.sigma_list.size());
  config.respacing.clear();
  return config;
}

std::vector<Sampler> all_samplers() {
#define TILLER_ENTRY(name) name##_sampler(),
  std::vector<Sampler> all = {TILLER_SAMPLERS(TILLER_ENTRY)};
#undef TILLER_ENTRY
  for (auto& sampler : all) add_shared_options(sampler.options);
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
  throw UsageError("sampler: got '" + name + "', expected one of " + enumerate(names, 40) + "." +
                   suggestion(name, names));
}

const std::vector<Option>& trajectory_options() {
  static const std::vector<Option> options = {
      {"spacing", "",
       "leading, trailing, linspace, sgm-uniform or beta; else the model's or the sampler's own"},
      {"sigmas", "",
       "none, karras, exponential, lu, beta, kl-optimal, ays-sd15, ays-sdxl or numbers such as "
       "14.6+5+1.2+0.3, for samplers that choose their sigmas"},
      {"offset", "", "added to leading timesteps"},
      {"final", "", "zero or sigma_min: where the sigmas end"},
      {"sigma_min", "", "smallest sigma of karras, exponential, beta and kl-optimal"},
      {"sigma_max", "", "largest sigma of karras, exponential, beta and kl-optimal"},
      {"rho", "7", "exponent of karras"},
      {"clip_sample", "", "true: clamp the estimate of x_0"},
      {"clip_sample_range", "1", "to at most this"},
      {"thresholding", "", "true: clamp it to a quantile of its own and scale that to 1"},
      {"dynamic_thresholding_ratio", "0.995", "that quantile"},
      {"sample_max_value", "1", "its largest value; above 1, or no quantile counts"},
      {"reflect_sample", "", "true: fold the estimate of x_0 back at clip_sample_range"},
      {"epsilon_scaling", "1", "epsilon is divided by this: lessens exposure bias, such as 1.005"},
      {"epsilon_scaling_slope", "0", "and by this times the steps left, more"},
      {"time_shift", "0", "timesteps among which each image's variance chooses; 0: none"},
      {"time_shift_cutoff", "", "at timesteps above alone"},
      {"strict", "false", "reproduce diffusers where Tiller does better"}};
  return options;
}

int bounded_integer(const Options& options, const std::string& name, int low, int high) {
  const int64_t value = options.integer(name);
  if (value < low || value > high)
    throw UsageError(name + ": got " + std::to_string(value) + ", expected an integer from " +
                     std::to_string(low) + " to " + std::to_string(high) + ".");
  return static_cast<int>(value);
}

TrajectoryConfig with_options(TrajectoryConfig config, const Options& options) {
  if (options.has("spacing")) config.spacing = spacing_from(options.text("spacing"));
  if (options.has("sigmas")) config = with_sigmas(std::move(config), options.text("sigmas"));
  if (options.has("offset")) config.steps_offset = bounded_integer(options, "offset", 0, 1'000'000);
  if (options.has("final"))
    config.final_sigma_zero = options.choice("final", {"zero", "sigma_min"}) == "zero";
  if (options.has("sigma_min")) config.sigma_min = options.number("sigma_min", 1e-6, 1e6);
  if (options.has("sigma_max")) config.sigma_max = options.number("sigma_max", 1e-6, 1e6);
  if (options.has("shift")) config.shift = options.number("shift", 1e-3, 1e3);
  if (options.has("rho")) config.rho = options.number("rho", 0.1, 100);
  if (options.has("set_alpha_to_one")) config.set_alpha_to_one = options.flag("set_alpha_to_one");
  if (options.has("lambda_min_clipped"))
    config.lambda_min_clipped = options.number("lambda_min_clipped");
  if (options.has("original_steps"))
    config.original_steps = bounded_integer(options, "original_steps", 1, 1'000'000);
  if (options.has("strict")) config.strict = options.flag("strict");
  return config;
}

}  // namespace tiller
