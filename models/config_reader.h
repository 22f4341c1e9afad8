#pragma once
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace tiller {

/// Throws Error "config.json: KEY: got VALUE, expected EXPECTED."
[[noreturn]] void config_error(const std::string& key, const nlohmann::json& got,
                               const std::string& expected);

/// The value as an integer between `low` and `high`, both included. Throws Error naming `key`.
int64_t config_integer(const std::string& key, const nlohmann::json& value, int64_t low,
                       int64_t high);

/// Reads the keys of a config.json, checked, and remembers which it was asked for. Null and absent
/// keys give the fallback. All members throw Error naming the key.
class ConfigReader {
 public:
  /// `json` must outlive the reader.
  explicit ConfigReader(const nlohmann::json& json);

  bool has(const std::string& key) const { return json_.contains(key); }
  /// Null where the key is absent.
  const nlohmann::json& at(const std::string& key);

  int64_t integer(const std::string& key, int64_t fallback, int64_t low, int64_t high);
  double number(const std::string& key, double fallback, double low, double high);
  bool flag(const std::string& key, bool fallback);
  /// One of `choices`; the first is the fallback.
  std::string word(const std::string& key, const std::vector<std::string>& choices);
  std::vector<std::string> words(const std::string& key, const std::vector<std::string>& fallback);
  /// One integer for all, or a list of `count`, each from 1 to `high`.
  std::vector<int64_t> integers(const std::string& key, int64_t fallback, size_t count,
                                int64_t high);

  /// Throws when an option that isn't supported has another value than its default.
  void refuse(const std::string& key, const nlohmann::json& usual);
  /// Throws when one of these is null, which has a meaning of its own that isn't supported.
  void refuse_null(const std::vector<std::string>& keys) const;
  /// Throws when there is a key that was never asked for. Names with a leading underscore, null and
  /// false are let through. `owner` is for the message.
  void finish(const std::string& owner) const;

 private:
  const nlohmann::json& json_;
  std::set<std::string> known_;
};

}  // namespace tiller
