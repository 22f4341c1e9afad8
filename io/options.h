#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace tiller {

/// An option that a sampler or a guidance understands.
struct Option {
  std::string name;
  std::string value;  ///< The default, as written; "" where something else decides.
  std::string description;
};

/// Options as written, with defaults filled in. Readers throw UsageError naming the option, what
/// was found and what was expected.
struct Options {
  std::map<std::string, std::string> values;

  /// Whether the option has a value, given or by default.
  bool has(const std::string& name) const;
  std::string text(const std::string& name) const;
  /// A finite number from `low` to `high`.
  double number(const std::string& name, double low = std::numeric_limits<double>::lowest(),
                double high = std::numeric_limits<double>::max()) const;
  int64_t integer(const std::string& name) const;
  /// "true" or "false".
  bool flag(const std::string& name) const;
  std::string choice(const std::string& name, const std::vector<std::string>& choices) const;
};

/// Reads "key=value,key=value" (or "") over the defaults; `where` starts messages. Throws
/// UsageError, with a suggestion, on an unknown or repeated key and on an item without a value.
Options parse_options(const std::string& where, const std::string& text,
                      const std::vector<Option>&);

}  // namespace tiller
