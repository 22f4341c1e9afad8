#include "models/adm_config.h"

#include <algorithm>
#include <deque>

#include "io/error.h"
#include "io/json.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

/// Flags of guided-diffusion's and DDPM-IP's scripts that say nothing about a trained network.
const std::vector<std::string> kIgnored = {"batch_size",
                                           "clip_denoised",
                                           "data_dir",
                                           "ema_rate",
                                           "fp16_scale_growth",
                                           "input_pertub",
                                           "log_interval",
                                           "lr",
                                           "lr_anneal_steps",
                                           "microbatch",
                                           "model_path",
                                           "num_samples",
                                           "resume_checkpoint",
                                           "sample_dir",
                                           "save_interval",
                                           "schedule_sampler",
                                           "timestep_respacing",
                                           "use_checkpoint",
                                           "use_ddim",
                                           "use_fp16",
                                           "use_kl",
                                           "weight_decay",
                                           "vae"};

/// Reads keys out of an object, and knows which it was never asked for.
class Reader {
 public:
  Reader(const Json& json, const std::string& file) : json_(json), file_(file) {
    if (!json.is_object())
      throw Error(file + ": got a " + json.type_name() + ", expected an object.");
  }

  void whole(const char* key, int64_t& value, int64_t low, int64_t high) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_number_integer() || *found < low || *found > high)
      refuse(key, *found,
             "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    value = found->get<int64_t>();
  }

  void fraction(const char* key, double& value) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_number() || *found < 0 || *found >= 1) refuse(key, *found, "a number in [0, 1)");
    value = found->get<double>();
  }

  void number(const char* key, double& value, double low, double high) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_number() || *found < low || *found > high)
      refuse(key, *found, "a number from " + Json(low).dump() + " to " + Json(high).dump());
    value = found->get<double>();
  }

  void flag(const char* key, bool& value) {
    const Json* found = find(key);
    if (!found) return;
    if (*found == "True" || *found == "true")
      value = true;
    else if (*found == "False" || *found == "false")
      value = false;
    else if (found->is_boolean())
      value = found->get<bool>();
    else
      refuse(key, *found, "true or false");
  }

  void text(const char* key, std::string& value, const std::vector<std::string>& choices) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_string() || !std::count(choices.begin(), choices.end(), *found))
      refuse(key, *found, "one of " + enumerate(choices));
    value = found->get<std::string>();
  }

  /// A list, a number, or a string of numbers between commas.
  template <class Number>
  void numbers(const char* key, std::vector<Number>& values) {
    const Json* found = find(key);
    if (!found) return;
    values.clear();
    const Json list = found->is_string()  ? parsed(key, *found)
                      : found->is_array() ? *found
                                          : Json{*found};
    for (const Json& item : list) {
      const bool whole = item.is_number_integer() || !std::is_integral_v<Number>;
      if (!item.is_number() || !whole || item <= 0 || item > 4096)
        refuse(key, *found, "numbers from 1 to 4096");
      values.push_back(item.get<Number>());
    }
    if (values.size() > 16) refuse(key, *found, "at most 16 numbers");
  }

  void strings(const char* key, std::vector<std::string>& values) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_array()) refuse(key, *found, "a list of names");
    for (const Json& item : *found) {
      if (!item.is_string()) refuse(key, item, "a name");
      values.push_back(item.get<std::string>());
    }
  }

  void finish() {
    asked_.insert(asked_.end(), kIgnored.begin(), kIgnored.end());
    for (const auto& [key, value] : json_.items())
      if (!std::count(asked_.begin(), asked_.end(), key))
        throw Error(file_ + ": got the unknown key '" + key +
                    "', expected guided-diffusion's flags." + suggestion(key, asked_));
  }

  [[noreturn]] void refuse(const std::string& key, const Json& found, const std::string& expected) {
    throw Error(file_ + ": " + key + ": got " + found.dump().substr(0, 60) + ", expected " +
                expected + ".");
  }

 private:
  /// A number may be written as a string, as flags are.
  const Json* find(const char* key) {
    asked_.push_back(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return nullptr;
    if (!found->is_string()) return &*found;
    Json number = parse_json(found->get<std::string>());
    if (!number.is_number()) return &*found;
    return &numbers_.emplace_back(std::move(number));
  }

  Json parsed(const char* key, const Json& text) {
    const Json list = parse_json("[" + text.get<std::string>() + "]");
    if (list.is_discarded()) refuse(key, text, "numbers between commas");
    return list;
  }

  const Json& json_;
  std::string file_;
  std::vector<std::string> asked_;
  std::deque<Json> numbers_;  // those that were written as strings
};

std::vector<double> default_multipliers(int64_t image_size) {
  switch (image_size) {
    case 512:
      return {0.5, 1, 1, 2, 2, 4, 4};
    case 256:
      return {1, 1, 2, 2, 4, 4};
    case 128:
      return {1, 1, 2, 3, 4};
    case 64:
      return {1, 2, 3, 4};
    case 32:  // DDPM-IP's; guided-diffusion has none
      return {1, 2, 2, 2};
    default:
      return {};
  }
}

void read_network(Reader& reader, AdmConfig& config) {
  reader.whole("image_size", config.image_size, 1, 4096);
  reader.whole("num_channels", config.num_channels, 32, 4096);
  reader.whole("num_res_blocks", config.num_res_blocks, 1, 64);
  reader.whole("num_heads", config.num_heads, 1, 1024);
  reader.whole("num_heads_upsample", config.num_heads_upsample, -1, 1024);
  reader.whole("num_head_channels", config.num_head_channels, -1, 4096);
  reader.whole("in_channels", config.in_channels, 1, 64);
  reader.numbers("attention_resolutions", config.attention_resolutions);
  reader.numbers("channel_mult", config.channel_mult);
  reader.fraction("dropout", config.dropout);
  reader.flag("use_scale_shift_norm", config.use_scale_shift_norm);
  reader.flag("resblock_updown", config.resblock_updown);
  reader.flag("use_new_attention_order", config.use_new_attention_order);
  reader.flag("learn_sigma", config.learn_sigma);
  reader.flag("sigma_small", config.sigma_small);
  reader.flag("rescale_learned_sigmas", config.rescale_learned_sigmas);
}

void read_diffusion(Reader& reader, AdmConfig& config) {
  reader.flag("class_cond", config.class_cond);
  reader.whole("num_classes", config.num_classes, 0, 1000000);
  reader.flag("null_label", config.null_label);
  reader.strings("class_names", config.class_names);
  reader.whole("diffusion_steps", config.diffusion_steps, 1, 1000000);
  reader.text("noise_schedule", config.noise_schedule, {"linear", "cosine", "sigmoid"});
  reader.flag("zero_terminal_snr", config.zero_terminal_snr);
  bool predict_xstart = false;
  reader.flag("predict_xstart", predict_xstart);
  std::string type = predict_xstart ? "sample" : "epsilon";
  reader.text("prediction_type", type,
              predict_xstart ? std::vector<std::string>{"sample"}
                             : std::vector<std::string>{"epsilon", "v_prediction", "sample", "flow",
                                                        "rectified_flow", "edm"});
  config.prediction = prediction_type_from(type);
  reader.flag("rescale_timesteps", config.rescale_timesteps);
  reader.number("flow_shift", config.flow_shift, 1e-3, 1e3);
  reader.whole("pfgmpp", config.augmented, 0, AdmConfig::most_augmented);
}

void check(Reader& reader, const AdmConfig& config) {
  for (const double mult : config.channel_mult) {
    const double channels = mult * config.num_channels;
    if (channels != static_cast<int64_t>(channels) || static_cast<int64_t>(channels) % 32)
      reader.refuse("channel_mult", mult, "multiples of 32 channels at each level");
  }
  if (config.zero_terminal_snr && config.prediction != PredictionType::v &&
      config.prediction != PredictionType::sample)
    reader.refuse("zero_terminal_snr", true,
                  "it with v_prediction or sample alone: an epsilon says nothing of pure noise");
  if (config.augmented && config.prediction != PredictionType::edm)
    reader.refuse(
        "pfgmpp", config.augmented,
        "it with edm alone, not with prediction_type " + prediction_type_name(config.prediction));
  const auto names = static_cast<int64_t>(config.class_names.size());
  if (names && config.num_classes && names != config.num_classes)
    reader.refuse("class_names", names, std::to_string(config.num_classes) + " names");
}

}  // namespace

AdmConfig adm_config(const Json& json, const std::string& file) {
  AdmConfig config;
  Reader reader(json, file);
  read_network(reader, config);
  read_diffusion(reader, config);
  reader.finish();
  if (config.channel_mult.empty()) config.channel_mult = default_multipliers(config.image_size);
  if (config.channel_mult.empty())
    reader.refuse(
        "channel_mult", "",
        "numbers, as image_size " + std::to_string(config.image_size) + " has no default");
  check(reader, config);
  return config;
}

}  // namespace tiller
