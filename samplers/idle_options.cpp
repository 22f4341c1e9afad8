#include "samplers/idle_options.h"

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "io/error.h"

namespace tiller {
namespace {

Options written_options(const Sampler& sampler, const std::string& text) {
  std::vector<Option> none = sampler.options;
  for (auto& option : none) option.value.clear();
  return parse_options("sampler " + sampler.name, text, none);
}

/// A flag that is true or a number above 0. Neither: the sampler says so as it starts.
bool is_on(const Options& options, const std::string& name) {
  const std::string value = options.text(name);
  return value == "true" || std::strtod(value.c_str(), nullptr) > 0;
}

/// What is written, what is chosen with the model's share, and the sampler that it is for.
struct Choice {
  const Sampler& sampler;
  Options written;
  const Options& options;
  std::vector<std::string>& lines;

  void say(const std::string& name, const std::string& why) const {
    lines.push_back("sampler " + sampler.name + ": " + name + ": got " + options.text(name) + why);
  }
};

/// An option that belongs to others, of which one has to be on.
struct Belonging {
  std::string option;
  std::vector<std::string> owners;
};

void find_unowned(const Choice& choice) {
  static const std::vector<Belonging> all = {
      {"dynamic_thresholding_ratio", {"thresholding"}},
      {"sample_max_value", {"thresholding"}},
      {"clip_sample_range", {"clip_sample", "reflect_sample"}},
      {"s_tmin", {"s_churn", "gamma"}},
      {"s_tmax", {"s_churn", "gamma"}},
      {"s_noise", {"s_churn", "eta", "restarts"}},
      {"tau_low", {"tau"}},
      {"tau_high", {"tau"}}};
  for (const auto& [option, owners] : all) {
    if (!choice.written.has(option)) continue;
    std::string known;
    for (const auto& owner : owners)
      if (choice.options.values.contains(owner)) known += (known.empty() ? "" : " or ") + owner;
    const auto on = [&](const std::string& owner) { return is_on(choice.options, owner); };
    if (!known.empty() && std::none_of(owners.begin(), owners.end(), on))
      choice.say(option, " without " + known + ", expected " +
                             (known.find(" or ") == std::string::npos ? "both." : "one of them."));
  }
}

/// Of the limits of x_0 the first that is on counts (limited).
void find_second_limit(const Choice& choice) {
  const bool thresholding = is_on(choice.options, "thresholding");
  if (!thresholding && !is_on(choice.options, "reflect_sample")) return;
  const std::string first = thresholding ? "thresholding" : "reflect_sample";
  for (const std::string other : {"reflect_sample", "clip_sample"})
    if (other != first && is_on(choice.written, other))
      choice.say(other, " with " + first + "=true, which goes before, expected one of them.");
  if (thresholding && choice.written.has("clip_sample_range"))
    choice.say("clip_sample_range", " with thresholding=true, expected sample_max_value.");
}

void find_unread_limits(const Choice& choice) {
  if (choice.sampler.reads_sample) return;
  for (const std::string limit : {"clip_sample", "reflect_sample", "thresholding"})
    if (is_on(choice.written, limit))
      choice.say(limit, ", but this sampler reads epsilon alone. --clip-denoised limits that too.");
}

void find_idle_quantile(const Choice& choice) {
  const auto written = [&](const char* name) { return choice.written.has(name); };
  if (!is_on(choice.options, "thresholding") || choice.options.number("sample_max_value") > 1)
    return;
  if (written("thresholding") || written("dynamic_thresholding_ratio") ||
      written("sample_max_value"))
    choice.say("sample_max_value",
               " with thresholding=true, expected more than 1: no quantile counts up to there.");
}

void find_idle_weight(const Choice& choice) {
  if (choice.written.has("third_order") && choice.options.integer("order") < 3)
    choice.say("third_order",
               " with order=" + choice.options.text("order") + ", expected order=3.");
}

std::vector<double> sigmas_of(const Trajectory& trajectory) {
  std::vector<double> sigmas;
  for (const auto& level : trajectory.levels) sigmas.push_back(level.sigma);
  return sigmas;
}

/// False also where the sampler takes neither: the run itself says why.
bool same_levels(const Sampler& sampler, const NoiseSchedule& schedule, const TrajectoryConfig& a,
                 const TrajectoryConfig& b) {
  try {
    return sigmas_of(sampler.trajectory(schedule, a)) == sigmas_of(sampler.trajectory(schedule, b));
  } catch (const UsageError&) {
    return false;
  }
}

/// Numbers of the levels that only rules for sigmas ask for, and what makes much of each.
struct LevelNumber {
  std::string option;
  double TrajectoryConfig::*number;
  double change;
};

void find_idle_levels(const Choice& choice, const NoiseSchedule& schedule,
                      const TrajectoryConfig& config) {
  static const std::vector<LevelNumber> all = {{"sigma_min", &TrajectoryConfig::sigma_min, 0.25},
                                               {"sigma_max", &TrajectoryConfig::sigma_max, 4},
                                               {"rho", &TrajectoryConfig::rho, 4}};
  TrajectoryConfig chosen = with_options(config, choice.options);
  chosen.respacing.clear();
  chosen.steps = std::max(chosen.steps, 3);  // fewer have no sigma between the ends
  for (const auto& [option, number, change] : all) {
    if (!choice.written.has(option)) continue;
    TrajectoryConfig other = chosen;
    other.*number *= change;
    if (same_levels(choice.sampler, schedule, chosen, other))
      choice.say(option,
                 ", which moves no level of this run, expected a rule for its sigmas, such as "
                 "heun:sigmas=karras.");
  }
}

using ConfigChange = std::function<void(TrajectoryConfig&)>;

/// Options that choose the levels themselves, and what would choose others.
const std::vector<std::pair<std::string, std::vector<ConfigChange>>>& level_choices() {
  const auto spaced = [](Spacing spacing) {
    return [spacing](TrajectoryConfig& config) { config.spacing = spacing; };
  };
  static const std::vector<std::pair<std::string, std::vector<ConfigChange>>> all = {
      {"spacing",
       {spaced(Spacing::leading), spaced(Spacing::trailing), spaced(Spacing::linspace),
        spaced(Spacing::sgm_uniform), spaced(Spacing::beta)}},
      {"offset", {[](TrajectoryConfig& config) { config.steps_offset += 1; }}},
      {"final",
       {[](TrajectoryConfig& config) { config.final_sigma_zero = !config.final_sigma_zero; }}},
      {"lambda_min_clipped",
       {[](TrajectoryConfig& config) { config.lambda_min_clipped.reset(); }}}};
  return all;
}

void find_idle_choices(const Choice& choice, const NoiseSchedule& schedule,
                       const TrajectoryConfig& config) {
  const TrajectoryConfig chosen = with_options(config, choice.options);
  for (const auto& [option, changes] : level_choices()) {
    if (!choice.written.has(option)) continue;
    const bool idle = std::all_of(changes.begin(), changes.end(), [&](const ConfigChange& change) {
      TrajectoryConfig other = chosen;
      change(other);
      return same_levels(choice.sampler, schedule, chosen, other);
    });
    if (idle) choice.say(option, ", which moves no level of this run.");
  }
}

}  // namespace

std::vector<std::string> idle_options(const Sampler& sampler, const std::string& text,
                                      const Options& options, const NoiseSchedule& schedule,
                                      const TrajectoryConfig& config) {
  std::vector<std::string> lines;
  const Choice choice{sampler, written_options(sampler, text), options, lines};
  find_unowned(choice);
  find_second_limit(choice);
  find_unread_limits(choice);
  find_idle_quantile(choice);
  find_idle_weight(choice);
  find_idle_levels(choice, schedule, config);
  find_idle_choices(choice, schedule, config);
  return lines;
}

}  // namespace tiller
