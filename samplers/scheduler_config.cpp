#include "samplers/scheduler_config.h"

#include "io/error.h"
#include "models/config_reader.h"
#include "models/edm_preconditioning.h"
#include "samplers/scheduler_classes.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr double kLargest = 1e6;

/// Copies a file's known keys once their values are found to be valid.
class KeyReader {
 public:
  explicit KeyReader(const Json& json) : reader_(json) {}

  void flags(const std::vector<std::string>& names) {
    for (const auto& name : names)
      if (given(name)) keys_[name] = reader_.flag(name, false);
  }
  void number(const std::string& name, double low, double high) {
    if (given(name)) keys_[name] = reader_.number(name, 0, low, high);
  }
  void integer(const std::string& name, int64_t low, int64_t high) {
    if (given(name)) keys_[name] = reader_.integer(name, 0, low, high);
  }
  void word(const std::string& name, const std::vector<std::string>& choices) {
    if (given(name)) keys_[name] = reader_.word(name, choices);
  }
  void text(const std::string& name) {
    if (!given(name)) return;
    if (!reader_.at(name).is_string()) config_error(name, reader_.at(name), "a name");
    keys_[name] = reader_.at(name);
  }
  void numbers(const std::string& name, double low, double high) {
    if (!given(name)) return;
    const Json& list = reader_.at(name);
    const auto valid = [&](const Json& entry) {
      return entry.is_number() && entry >= low && entry <= high;
    };
    if (!list.is_array() || list.empty() || !std::all_of(list.begin(), list.end(), valid))
      config_error(name, list,
                   "a list of numbers from " + Json(low).dump() + " to " + Json(high).dump());
    keys_[name] = list;
  }
  void anything(const std::string& name) {
    if (given(name)) keys_[name] = reader_.at(name);
  }

  const Json& keys() const { return keys_; }

 private:
  bool given(const std::string& name) { return !reader_.at(name).is_null(); }

  ConfigReader reader_;
  Json keys_ = Json::object();
};

void read_noise_schedule(KeyReader& reader) {
  reader.integer("num_train_timesteps", 1, 1'000'000);
  reader.number("beta_start", 0, 0.999);
  reader.number("beta_end", 0, 0.999);
  reader.word("beta_schedule", {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"});
  reader.numbers("trained_betas", 0, 0.9999);
  reader.word("prediction_type",
              {"epsilon", "v_prediction", "sample", "flow_prediction", "flow", "rectified_flow"});
  reader.number("shift", 1e-3, 1e3);
  reader.number("flow_shift", 1e-3, 1e3);
}

void read_levels(KeyReader& reader) {
  reader.word("timestep_spacing", {"leading", "trailing", "linspace"});
  reader.integer("steps_offset", 0, 1'000'000);
  reader.word("final_sigmas_type", {"zero", "sigma_min"});
  reader.number("sigma_min", 1e-6, kLargest);
  reader.number("sigma_max", 1e-6, kLargest);
  reader.number("sigma_data", 1e-3, 1e3);
  reader.number("rho", 0.1, 100);
  reader.word("sigma_schedule", {"karras", "exponential"});
  reader.number("lambda_min_clipped", -kLargest, kLargest);
  reader.integer("original_inference_steps", 1, 1'000'000);
  reader.flags({"set_alpha_to_one", "rescale_betas_zero_snr", "use_karras_sigmas",
                "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas",
                "use_dynamic_shifting", "invert_sigmas", "stochastic_sampling"});
  reader.anything("shift_terminal");
  reader.text("interpolation_type");
  reader.text("timestep_type");
}

void read_solver(KeyReader& reader) {
  for (const char* order : {"solver_order", "predictor_order", "corrector_order"})
    reader.integer(order, 1, 10);
  reader.word("solver_type", {"midpoint", "heun", "bh1", "bh2", "logrho"});
  reader.text("algorithm_type");
  reader.text("variance_type");
  reader.number("timestep_scaling", 1e-6, kLargest);
  reader.flags({"lower_order_final", "euler_at_final", "skip_prk_steps", "predict_x0"});
  reader.anything("disable_corrector");
  reader.anything("solver_p");
}

void read_limits(KeyReader& reader) {
  reader.flags({"clip_sample", "thresholding"});
  reader.number("clip_sample_range", 1e-6, kLargest);
  reader.number("dynamic_thresholding_ratio", 0, 1);
  reader.number("sample_max_value", 1e-6, kLargest);
}

/// The reader's messages begin with "config.json".
template <class Function>
auto naming_the_file(const Function& read) {
  try {
    return read();
  } catch (const Error& error) {
    const std::string text = error.what();
    throw Error(text.starts_with("config.json") ? "scheduler_" + text
                                                : "scheduler_config.json: " + text);
  }
}

/// The network is an EDM's, whose preconditioning models/text_to_image.cpp reads.
SchedulerSetup edm_setup(SchedulerSetup setup) {
  const Json& keys = setup.keys;
  const std::string type = keys.value("prediction_type", "epsilon");
  if (type != "epsilon" && type != "v_prediction")
    config_error("prediction_type", type, "epsilon or v_prediction");
  const double least = keys.value("sigma_min", 0.002), most = keys.value("sigma_max", 80.0);
  if (least >= most) config_error("sigma_max", most, "more than " + Json(least).dump());
  setup.prediction = PredictionType::edm;
  return setup;
}

SchedulerSetup read_setup(const Json& json) {
  KeyReader reader(json);
  reader.text("_class_name");
  read_noise_schedule(reader);
  read_levels(reader);
  read_solver(reader);
  read_limits(reader);
  SchedulerSetup setup;
  setup.keys = reader.keys();
  setup.class_name = setup.keys.value("_class_name", "");
  if (is_edm_scheduler(setup.class_name)) return edm_setup(std::move(setup));
  const bool flow = setup.class_name.starts_with("FlowMatch");
  setup.prediction =
      prediction_type_from(setup.keys.value("prediction_type", flow ? "flow" : "epsilon"));
  return setup;
}

/// The same of an EDM's; its sigmas are the schedule's.
Json edm_keys(const SchedulerSetup& setup, const Json& taken) {
  Json keys = Json::object();
  for (const auto& [key, value] : taken.items())
    if (key != "timestep_spacing" && setup.keys.contains(key)) keys[key] = setup.keys.at(key);
  for (const char* key : {"sigma_min", "sigma_max", "steps_offset"}) keys.erase(key);
  if (setup.keys.contains("rho")) keys["rho"] = setup.keys.at("rho");
  return keys;
}

/// A flow's scheduler says nothing of the defaults of others: what the file lacks is the sampler's
/// own.
Json flow_keys(const SchedulerSetup& setup, Json taken) {
  for (const char* key :
       {"shift", "use_dynamic_shifting", "invert_sigmas", "stochastic_sampling", "shift_terminal"})
    taken[key] = nullptr;
  Json keys = Json::object();
  for (const auto& [key, value] : taken.items())
    if (setup.keys.contains(key)) keys[key] = setup.keys.at(key);
  return keys;
}

/// What the class's keys are once the file has spoken.
Json class_keys(const SchedulerSetup& setup, const Sampler& sampler) {
  Json keys = scheduler_defaults(sampler.scheduler);
  if (is_flow(setup.prediction)) return flow_keys(setup, std::move(keys));
  if (setup.prediction == PredictionType::edm) return edm_keys(setup, keys);
  for (auto& [key, value] : keys.items())
    if (setup.keys.contains(key) && takes_key(sampler.scheduler, key)) value = setup.keys.at(key);
  return keys;
}

NoiseSchedule flow_schedule_from(const SchedulerSetup& setup) {
  const Json& keys = setup.keys;
  return flow_schedule(setup.prediction, keys.value("num_train_timesteps", int64_t{1000}),
                       keys.value("shift", keys.value("flow_shift", 1.0)));
}

NoiseSchedule edm_schedule_from(const Json& keys) {
  NoiseSchedule schedule =
      edm_schedule(keys.value("num_train_timesteps", int64_t{1000}), keys.value("sigma_min", 0.002),
                   keys.value("sigma_max", 80.0));
  schedule.begins_with_data = true;
  schedule.exponential = keys.value("sigma_schedule", "karras") == "exponential";
  return schedule;
}

NoiseSchedule schedule_from(const Json& keys) {
  BetaTable table;
  table.schedule = keys.at("beta_schedule");
  table.start = keys.at("beta_start");
  table.end = keys.at("beta_end");
  table.timesteps = keys.at("num_train_timesteps");
  table.zero_terminal_snr = keys.value("rescale_betas_zero_snr", false);
  if (const Json& trained = keys.at("trained_betas"); !trained.is_null()) {
    if (static_cast<int64_t>(trained.size()) != table.timesteps)
      config_error("trained_betas", trained.size(),
                   std::to_string(table.timesteps) + " numbers, as num_train_timesteps says");
    table.trained = trained.get<std::vector<double>>();
  }
  return diffusers_schedule(table);
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
}

}  // namespace

SchedulerSetup read_scheduler_config(const Json& json) {
  return naming_the_file([&] { return read_setup(json); });
}

std::string configured_sampler(const SchedulerSetup& setup) {
  const std::string name = scheduler_sampler(setup.class_name, setup.keys);
  if (!name.empty()) return name;
  throw Error("scheduler_config.json: _class_name: got '" + printable(setup.class_name) +
              (setup.keys.contains("algorithm_type")
                   ? "' with algorithm_type '" + text_of(setup.keys.at("algorithm_type"))
                   : "") +
              "', expected one of " + enumerate(scheduler_classes(), 20) +
              ". Name a sampler instead (--sampler).");
}

std::vector<Option> configured_options(const SchedulerSetup& setup, const Sampler& sampler) {
  Json keys = class_keys(setup, sampler);
  naming_the_file([&] { refuse_unsupported(keys); });
  if (scheduler_sampler(setup.class_name, setup.keys) != sampler.name)
    keep_own_order(keys, sampler);
  std::vector<Option> options = sampler.options;
  for (const auto& [name, value] : options_of_keys(keys))
    for (auto& option : options)
      if (option.name == name) option.value = text_of(value);
  return options;
}

NoiseSchedule configured_schedule(const SchedulerSetup& setup, const Sampler& sampler) {
  return naming_the_file([&] {
    if (setup.prediction == PredictionType::edm) return edm_schedule_from(setup.keys);
    return is_flow(setup.prediction) ? flow_schedule_from(setup)
                                     : schedule_from(class_keys(setup, sampler));
  });
}

}  // namespace tiller
