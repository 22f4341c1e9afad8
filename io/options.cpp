#include "io/options.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include "io/error.h"

namespace tiller {
namespace {

[[noreturn]] void refuse_option(const std::string& name, const std::string& found,
                                const std::string& expected) {
  throw UsageError(name + ": got '" + found + "', expected " + expected + ".");
}

template <class Number>
bool parse(const std::string& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end;
}

std::string shortest(double number) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr};
}

std::string range(double low, double high) {
  using Limits = std::numeric_limits<double>;
  if (low == Limits::lowest() && high == Limits::max()) return "a finite number";
  return "a number from " + shortest(low) + " to " + shortest(high);
}

std::vector<std::string> names_of(const std::vector<Option>& options) {
  std::vector<std::string> names;
  for (const auto& option : options) names.push_back(option.name);
  return names;
}

}  // namespace

bool Options::has(const std::string& name) const {
  const auto found = values.find(name);
  return found != values.end() && !found->second.empty();
}

std::string Options::text(const std::string& name) const {
  const auto found = values.find(name);
  return found == values.end() ? "" : found->second;
}

double Options::number(const std::string& name, double low, double high) const {
  double number = 0;
  if (!parse(text(name), number)) refuse_option(name, text(name), "a number");
  if (!(number >= low && number <= high)) refuse_option(name, text(name), range(low, high));
  return number;
}

int64_t Options::integer(const std::string& name) const {
  int32_t number = 0;
  if (!parse(text(name), number)) refuse_option(name, text(name), "a whole number");
  return number;
}

bool Options::flag(const std::string& name) const {
  return choice(name, {"true", "false"}) == "true";
}

std::string Options::choice(const std::string& name,
                            const std::vector<std::string>& choices) const {
  const std::string value = text(name);
  if (std::find(choices.begin(), choices.end(), value) == choices.end())
    throw UsageError(name + ": got '" + value + "', expected one of " + enumerate(choices) + "." +
                     suggestion(value, choices));
  return value;
}

Options parse_options(const std::string& where, const std::string& text,
                      const std::vector<Option>& options) {
  Options result;
  for (const auto& option : options) result.values[option.name] = option.value;
  std::set<std::string> given;
  for (size_t begin = 0; begin < text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, comma - begin);
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals + 1 == item.size())
      refuse_option(where, item, "key=value");
    const std::string key = item.substr(0, equals);
    if (!result.values.contains(key))
      throw UsageError(where + ": got '" + key + "', expected " + enumerate(names_of(options), 20) +
                       "." + suggestion(key, names_of(options)));
    if (!given.insert(key).second)
      throw UsageError(where + ": got " + key + " twice, expected it once.");
    result.values[key] = item.substr(equals + 1);
    begin = comma + 1;
  }
  return result;
}

}  // namespace tiller
