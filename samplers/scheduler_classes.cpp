#include "samplers/scheduler_classes.h"

#include <algorithm>

#include "io/error.h"
#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

/// Groups of keys that several classes share.
const Json& group(const std::string& name) {
  static const Json groups = Json::parse(R"({
    "all": {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02,
            "beta_schedule": "linear", "trained_betas": null, "prediction_type": "epsilon",
            "timestep_spacing": "linspace", "steps_offset": 0},
    "latent betas": {"beta_start": 0.00085, "beta_end": 0.012},
    "leading": {"timestep_spacing": "leading"},
    "zero snr": {"rescale_betas_zero_snr": false},
    "clip": {"clip_sample": false, "clip_sample_range": 1.0},
    "clips": {"clip_sample": true, "clip_sample_range": 1.0},
    "threshold": {"thresholding": false, "dynamic_thresholding_ratio": 0.995,
                  "sample_max_value": 1.0},
    "sigmas": {"use_karras_sigmas": false, "use_exponential_sigmas": false,
               "use_beta_sigmas": false},
    "sigma ends": {"sigma_min": null, "sigma_max": null},
    "final": {"final_sigmas_type": "zero"},
    "flow": {"use_flow_sigmas": false, "use_dynamic_shifting": false},
    "consistency": {"beta_schedule": "scaled_linear", "original_inference_steps": 50,
                    "timestep_scaling": 10.0}
  })");
  return groups.at(name);
}

struct SchedulerClass {
  std::string sampler;
  std::vector<std::string> groups;  ///< The later ones count.
  Json own;
  std::vector<std::string> lacks = {};  ///< Shared keys that a file says nothing of.
};

const std::map<std::string, SchedulerClass>& classes() {
  static const std::map<std::string, SchedulerClass> all = {
      {"DDIMScheduler",
       {"ddim",
        {"leading", "zero snr", "clips", "threshold"},
        R"({"set_alpha_to_one": true})"_json}},
      {"DDPMScheduler",
       {"ddpm",
        {"leading", "zero snr", "clips", "threshold"},
        R"({"variance_type": "fixed_small"})"_json}},
      {"PNDMScheduler",
       {"pndm", {"leading"}, R"({"set_alpha_to_one": false, "skip_prk_steps": false})"_json}},
      {"EulerDiscreteScheduler",
       {"euler",
        {"zero snr", "sigmas", "sigma ends", "final"},
        R"({"interpolation_type": "linear", "timestep_type": "discrete"})"_json}},
      {"EDMEulerScheduler", {"euler", {}, Json::object()}},
      {"EDMDPMSolverMultistepScheduler", {"dpm++2m", {}, Json::object()}},
      {"FlowMatchEulerDiscreteScheduler", {"euler", {}, Json::object()}},
      {"FlowMatchHeunDiscreteScheduler", {"heun", {}, Json::object()}},
      {"EulerAncestralDiscreteScheduler", {"euler-a", {"zero snr"}, Json::object()}},
      {"HeunDiscreteScheduler", {"heun", {"latent betas", "sigmas", "clip"}, Json::object()}},
      {"KDPM2DiscreteScheduler", {"dpm2", {"latent betas", "sigmas"}, Json::object()}},
      {"KDPM2AncestralDiscreteScheduler", {"dpm2-a", {"latent betas", "sigmas"}, Json::object()}},
      {"LMSDiscreteScheduler", {"lms", {"sigmas"}, Json::object()}},
      {"DPMSolverSDEScheduler", {"dpm++sde", {"latent betas", "sigmas"}, Json::object()}},
      {"DPMSolverMultistepScheduler",
       {"dpm++2m",
        {"zero snr", "sigmas", "final", "threshold", "flow"},
        R"({"solver_order": 2, "solver_type": "midpoint", "lower_order_final": true,
            "euler_at_final": false, "use_lu_lambdas": false, "lambda_min_clipped": null})"_json}},
      {"UniPCMultistepScheduler",
       {"unipc",
        {"zero snr", "sigmas", "sigma ends", "final", "threshold", "flow"},
        R"({"solver_order": 2, "solver_type": "bh2", "lower_order_final": true,
            "predict_x0": true, "disable_corrector": null, "solver_p": null})"_json}},
      {"DEISMultistepScheduler",
       {"deis",
        {"sigmas", "threshold", "flow"},
        R"({"solver_order": 2, "solver_type": "logrho", "lower_order_final": true})"_json}},
      {"DPMSolverSinglestepScheduler",
       {"dpm++2s",
        {"sigmas", "final", "threshold", "flow"},
        R"({"solver_order": 2, "solver_type": "midpoint", "lower_order_final": false,
            "lambda_min_clipped": null})"_json,
        {"timestep_spacing", "steps_offset"}}},
      {"SASolverScheduler",
       {"sa-solver",
        {"sigmas", "threshold", "flow"},
        R"({"predictor_order": 2, "corrector_order": 2, "lower_order_final": true,
            "lambda_min_clipped": null})"_json}},
      {"LCMScheduler",
       {"lcm",
        {"latent betas", "leading", "zero snr", "clip", "threshold", "consistency"},
        Json::object()}},
      {"TCDScheduler",
       {"tcd",
        {"latent betas", "leading", "zero snr", "consistency"},  // its step clips nothing
        Json::object()}}};
  return all;
}

bool is_on(const Json& keys, const std::string& key) { return keys.value(key, Json()) == true; }

/// Where several are set diffusers refuses to run.
std::string sigma_rule_name(const Json& keys) {
  std::vector<std::string> rules;
  for (const auto& [key, rule] :
       std::map<std::string, std::string>{{"use_karras_sigmas", "karras"},
                                          {"use_exponential_sigmas", "exponential"},
                                          {"use_beta_sigmas", "beta"},
                                          {"use_lu_lambdas", "lu"}})
    if (is_on(keys, key)) rules.push_back(rule);
  if (rules.size() > 1)
    throw Error("scheduler_config.json: got the sigmas " + enumerate(rules) +
                ", expected one of them.");
  return rules.empty() ? "none" : rules.front();
}

/// Each class maps the other's solver types to its own default.
std::string solver_name(const Json& keys) {
  const std::string name = keys.at("solver_type");
  const bool unipc = keys.contains("predict_x0");
  if (unipc) return name == "bh1" ? "bh1" : "bh2";
  return name == "heun" ? "heun" : "midpoint";
}

std::string variance_name(const Json& keys) {
  const std::string name = keys.at("variance_type");
  if (name == "fixed_small_log") return "fixed_small";
  if (name == "fixed_small" || name == "fixed_large" || name == "learned_range") return name;
  config_error("variance_type", name, "fixed_small, fixed_large or learned_range");
}

/// Of an EDM's network or of others.
bool is_multistep(const std::string& class_name) {
  return class_name.ends_with("DPMSolverMultistepScheduler");
}

/// DPM-Solver's classes, whose order is part of the sampler's name.
bool order_is_named(const std::string& class_name) {
  return is_multistep(class_name) || class_name == "DPMSolverSinglestepScheduler";
}

}  // namespace

Json scheduler_defaults(const std::string& class_name) {
  Json keys = group("all");
  const auto found = classes().find(class_name);
  if (found == classes().end()) return keys;
  for (const auto& name : found->second.groups) keys.update(group(name));
  keys.update(found->second.own);
  return keys;
}

bool takes_key(const std::string& class_name, const std::string& key) {
  const auto found = classes().find(class_name);
  if (found == classes().end()) return true;
  const auto& lacks = found->second.lacks;
  return std::find(lacks.begin(), lacks.end(), key) == lacks.end();
}

std::string scheduler_sampler(const std::string& class_name, const Json& keys) {
  const auto found = classes().find(class_name);
  if (found == classes().end()) return "";
  const std::string algorithm = keys.value("algorithm_type", "");
  if (class_name == "DEISMultistepScheduler" && algorithm == "sde-dpmsolver++") return "";
  if (class_name == "SASolverScheduler" && algorithm == "noise_prediction") return "";
  if (!order_is_named(class_name)) return found->second.sampler;
  const bool multistep = is_multistep(class_name);
  const std::string name = std::string(keys.value("solver_order", 2) >= 3 ? "dpm++3" : "dpm++2") +
                           (multistep ? "m" : "s");
  if (algorithm.empty() || algorithm == "dpmsolver++" || algorithm == "deis") return name;
  return multistep && algorithm == "sde-dpmsolver++" ? name + "-sde" : "";
}

std::vector<std::string> scheduler_classes() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : classes()) names.push_back(name);
  return names;
}

void refuse_unsupported(const Json& keys) {
  ConfigReader reader(keys);
  reader.refuse("use_flow_sigmas", false);
  reader.refuse("use_dynamic_shifting", false);
  reader.refuse("invert_sigmas", false);
  reader.refuse("stochastic_sampling", false);
  reader.refuse("shift_terminal", nullptr);
  reader.refuse("interpolation_type", "linear");
  reader.refuse("timestep_type", "discrete");
  reader.refuse("predict_x0", true);
  reader.refuse("solver_p", nullptr);
  reader.refuse("disable_corrector", Json::array());
}

void keep_own_order(Json& keys, const Sampler& sampler) {
  if (order_is_named(sampler.scheduler)) keys.erase("solver_order");
}

std::map<std::string, Json> options_of_keys(const Json& keys) {
  static const std::map<std::string, std::string> names = {
      {"timestep_spacing", "spacing"}, {"steps_offset", "offset"},
      {"final_sigmas_type", "final"},  {"solver_order", "order"},
      {"predictor_order", "order"},    {"original_inference_steps", "original_steps"}};
  std::map<std::string, Json> options;
  for (const auto& [key, value] : keys.items()) {
    const auto found = names.find(key);
    options[found == names.end() ? key : found->second] = value;
  }
  options["sigmas"] = sigma_rule_name(keys);
  if (keys.contains("solver_type")) options["solver"] = solver_name(keys);
  if (keys.contains("variance_type")) options["variance"] = variance_name(keys);
  options["history"] = keys.value("prediction_type", "") == "v_prediction" ? "v" : "epsilon";
  return options;
}

}  // namespace tiller
