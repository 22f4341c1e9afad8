#include "models/edm_config.h"

#include <algorithm>

#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;
using Integers = std::vector<int64_t>;

constexpr size_t most_levels = 10;

/// A list of whole numbers from 1 to `high`.
Integers whole_numbers(ConfigReader& reader, const std::string& key, const Integers& fallback,
                       int64_t high) {
  const Json& value = reader.at(key);
  if (value.is_null()) return fallback;
  if (!value.is_array() || value.size() > most_levels)
    config_error(key, value, "a list of at most " + std::to_string(most_levels) + " integers");
  Integers numbers;
  for (const Json& entry : value) numbers.push_back(config_integer(key, entry, 1, high));
  return numbers;
}

std::vector<double> filter_from(ConfigReader& reader) {
  const Json& value = reader.at("resample_filter");
  if (value.is_null()) return {1, 1};
  const auto is_tap = [](const Json& tap) { return tap.is_number() && tap > 0 && tap <= 1000; };
  const bool valid = value.is_array() && !value.empty() && value.size() <= 8 &&
                     value.size() % 2 == 0 && std::all_of(value.begin(), value.end(), is_tap);
  if (!valid) config_error("resample_filter", value, "2, 4, 6 or 8 positive numbers");
  return value.get<std::vector<double>>();
}

void read_network(ConfigReader& reader, EdmConfig& config) {
  const bool adm = config.dhariwal;
  config.img_resolution = reader.integer("img_resolution", 0, 1, 4096);
  if (!config.img_resolution)
    config_error("img_resolution", nullptr, "the side of the network's images, such as 32");
  config.img_channels = reader.integer("img_channels", 3, 1, 64);
  config.label_dim = reader.integer("label_dim", 0, 0, 1'000'000);
  config.model_channels = reader.integer("model_channels", adm ? 192 : 128, 4, 4096);
  config.channel_mult_emb = reader.integer("channel_mult_emb", 4, 1, 64);
  config.num_blocks = reader.integer("num_blocks", adm ? 3 : 4, 1, 64);
  config.channel_mult =
      whole_numbers(reader, "channel_mult", adm ? Integers{1, 2, 3, 4} : Integers{1, 2, 2, 2}, 64);
  config.attn_resolutions =
      whole_numbers(reader, "attn_resolutions", adm ? Integers{32, 16, 8} : Integers{16}, 4096);
  config.label_dropout = reader.number("label_dropout", 0, 0, 1);
  reader.number("dropout", 0, 0, 1);
  reader.integer("augment_dim", 0, 0, 1'000'000);  // nothing is augmented in sampling
}

void read_song(ConfigReader& reader, EdmConfig& config) {
  config.fourier = reader.word("embedding_type", {"positional", "fourier"}) == "fourier";
  config.channel_mult_noise = reader.integer("channel_mult_noise", 1, 1, 64);
  config.residual = reader.word("encoder_type", {"standard", "residual"}) == "residual";
  reader.word("decoder_type", {"standard"});
  config.resample_filter = filter_from(reader);
}

void read_preconditioner(ConfigReader& reader, EdmConfig& config) {
  EdmPreconditioner& by = config.preconditioner;
  const auto& names = edm_preconditioner_names();
  const std::string name = reader.word("preconditioning", names);
  by.kind = EdmPreconditioner::Kind(std::find(names.begin(), names.end(), name) - names.begin());
  if (by.kind == EdmPreconditioner::Kind::edm)
    by.sigma_data = reader.number("sigma_data", by.sigma_data, 1e-3, 1e3);
  if (by.kind == EdmPreconditioner::Kind::vp) {
    by.beta_d = reader.number("beta_d", by.beta_d, 1e-3, 1e3);
    by.beta_min = reader.number("beta_min", by.beta_min, 0, 1e3);
  }
  if (by.kind == EdmPreconditioner::Kind::iddpm) {
    by.c1 = reader.number("C_1", by.c1, 1e-9, 1);
    by.c2 = reader.number("C_2", by.c2, 0, 1);
  }
  if (by.kind == EdmPreconditioner::Kind::vp || by.kind == EdmPreconditioner::Kind::iddpm)
    by.timesteps = reader.integer("M", by.timesteps, 2, 1'000'000);
  config.sigma_min = std::max(config.sigma_min, reader.number("sigma_min", 0, 0, 1e6));
  config.sigma_max = std::min(config.sigma_max, reader.number("sigma_max", 80, 0, 1e6));
  if (config.sigma_min >= config.sigma_max)
    config_error("sigma_max", config.sigma_max, "more than " + Json(config.sigma_min).dump());
  config.augmented = reader.integer("D", 0, 0, 10'000'000);
}

void check(ConfigReader& reader, EdmConfig& config) {
  if (config.channel_mult.empty())
    config_error("channel_mult", Json::array(), "at least one number");
  const int64_t coarsest = int64_t{1} << (config.channel_mult.size() - 1);
  if (config.img_resolution % coarsest)
    config_error("img_resolution", config.img_resolution,
                 "a multiple of " + std::to_string(coarsest) + " as channel_mult has " +
                     std::to_string(config.channel_mult.size()) + " levels");
  if (config.model_channels * config.channel_mult_noise % 2)
    config_error("model_channels", config.model_channels, "an even number");
  config.class_names = reader.words("class_names", {});
  if (!config.class_names.empty() && int64_t(config.class_names.size()) != config.label_dim)
    config_error("class_names", config.class_names.size(),
                 std::to_string(config.label_dim) + " names as label_dim says");
}

}  // namespace

bool EdmConfig::attends(int64_t resolution) const {
  return std::count(attn_resolutions.begin(), attn_resolutions.end(), resolution) > 0;
}

bool is_edm_config(const Json& config) {
  const auto name = config.find("_class_name");
  return config.contains("img_resolution") ||
         (name != config.end() && (*name == "SongUNet" || *name == "DhariwalUNet"));
}

EdmConfig edm_config(const Json& json) {
  ConfigReader reader(json);
  EdmConfig config;
  const std::string name = reader.word("_class_name", {"SongUNet", "DhariwalUNet"});
  config.dhariwal = name == "DhariwalUNet";
  read_network(reader, config);
  if (!config.dhariwal) read_song(reader, config);
  read_preconditioner(reader, config);
  check(reader, config);
  reader.finish(name);
  return config;
}

}  // namespace tiller
