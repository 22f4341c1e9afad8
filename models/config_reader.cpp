#include "models/config_reader.h"

#include <algorithm>
#include <cmath>

#include "io/error.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

bool is_integer(const Json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return false;
  return value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}

}  // namespace

void config_error(const std::string& key, const Json& got, const std::string& expected) {
  std::string text = got.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  throw Error("config.json: " + key + ": got " + text + ", expected " + expected + ".");
}

int64_t config_integer(const std::string& key, const Json& value, int64_t low, int64_t high) {
  if (!is_integer(value, low, high))
    config_error(key, value,
                 "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return value.get<int64_t>();
}

ConfigReader::ConfigReader(const Json& json) : json_(json) {
  if (!json.is_object()) config_error("(the whole)", json, "an object");
}

const Json& ConfigReader::at(const std::string& key) {
  static const Json absent;
  known_.insert(key);
  const auto found = json_.find(key);
  return found == json_.end() ? absent : *found;
}

int64_t ConfigReader::integer(const std::string& key, int64_t fallback, int64_t low, int64_t high) {
  const Json& value = at(key);
  return value.is_null() ? fallback : config_integer(key, value, low, high);
}

double ConfigReader::number(const std::string& key, double fallback, double low, double high) {
  const Json& value = at(key);
  if (value.is_null()) return fallback;
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!(number >= low && number <= high))
    config_error(key, value, "a number from " + Json(low).dump() + " to " + Json(high).dump());
  return number;
}

bool ConfigReader::flag(const std::string& key, bool fallback) {
  const Json& value = at(key);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) config_error(key, value, "true or false");
  return value.get<bool>();
}

std::string ConfigReader::word(const std::string& key, const std::vector<std::string>& choices) {
  const Json& value = at(key);
  if (value.is_null()) return choices.front();
  if (!value.is_string() || !std::count(choices.begin(), choices.end(), value.get<std::string>()))
    config_error(key, value, enumerate(choices) + " (nothing else is supported)");
  return value.get<std::string>();
}

std::vector<std::string> ConfigReader::words(const std::string& key,
                                             const std::vector<std::string>& fallback) {
  const Json& value = at(key);
  if (value.is_null()) return fallback;
  const auto is_word = [](const Json& entry) { return entry.is_string(); };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_word))
    config_error(key, value, "a list of names");
  return value.get<std::vector<std::string>>();
}

std::vector<int64_t> ConfigReader::integers(const std::string& key, int64_t fallback, size_t count,
                                            int64_t high) {
  const Json& value = at(key);
  if (!value.is_array()) return std::vector<int64_t>(count, integer(key, fallback, 1, high));
  if (value.size() != count)
    config_error(key, value, "an integer or a list of " + std::to_string(count));
  std::vector<int64_t> result;
  for (const auto& entry : value) result.push_back(config_integer(key, entry, 1, high));
  return result;
}

void ConfigReader::refuse(const std::string& key, const Json& usual) {
  const Json& value = at(key);
  const auto differs = [&](const Json& entry) { return !entry.is_null() && entry != usual; };
  if (value.is_array() ? std::any_of(value.begin(), value.end(), differs) : differs(value))
    config_error(key, value, usual.dump() + " (nothing else is supported)");
}

void ConfigReader::refuse_null(const std::vector<std::string>& keys) const {
  for (const auto& key : keys)
    if (has(key) && json_.at(key).is_null()) config_error(key, nullptr, "a value (or no such key)");
}

void ConfigReader::finish(const std::string& owner) const {
  for (const auto& [key, value] : json_.items()) {
    if (known_.count(key) || key.rfind('_', 0) == 0 || value.is_null() || value == false) continue;
    throw Error("config.json: got the unknown key '" + key + "', expected those of " + owner + "." +
                suggestion(key, {known_.begin(), known_.end()}));
  }
}

}  // namespace tiller
