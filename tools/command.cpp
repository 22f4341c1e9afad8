#include "tools/command.h"

#include <algorithm>
#include <charconv>
#include <cxxopts.hpp>

#include "io/error.h"
#include "tools/table.h"

namespace tiller {
namespace {

constexpr size_t description_column = 36;

std::string help_line(const std::string& left, const std::string& right) {
  std::string line = "  " + left;
  line.resize(std::max(line.size() + 2, description_column), ' ');
  return line + wrapped(right, description_column) + "\n";
}

[[noreturn]] void refuse(const std::string& flag, const std::string& found,
                         const std::string& expected) {
  throw UsageError("--" + flag + ": got '" + found + "', expected " + expected + ".");
}

template <class Number>
Number parse_number(const std::string& flag, const std::string& text, Number low, Number high,
                    const std::string& expected) {
  Number number{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || !(number >= low) ||
      !(number <= high))
    refuse(flag, text, expected);
  return number;
}

std::string in_range(const std::string& kind, const std::string& low, const std::string& high) {
  return kind + " from " + low + " to " + high;
}

std::string shortest(double number) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr};
}

cxxopts::Options declare(const Command& command) {
  cxxopts::Options options("tiller " + command.name);
  options.allow_unrecognised_options();
  auto add = options.add_options();
  for (const auto& flag : command.flags) {
    if (flag.argument.empty())
      add(flag.name, "", cxxopts::value<bool>());
    else
      add(flag.name, "", cxxopts::value<std::string>());
  }
  add("h,help", "", cxxopts::value<bool>());
  add("help-all", "", cxxopts::value<bool>());
  return options;
}

[[noreturn]] void refuse_unknown(const Command& command, const std::string& word) {
  const size_t dashes = std::min(word.find_first_not_of('-'), word.size());
  const std::string name = word.substr(dashes, word.find('=') - dashes);
  std::vector<std::string> known;
  for (const auto& flag : command.flags) known.push_back("--" + flag.name);
  throw UsageError(command.name + ": got '" + word.substr(0, word.find('=')) +
                   "', expected a flag that `tiller " + command.name + " --help-all` lists." +
                   suggestion("--" + name, known));
}

void refuse_repeats(const Command& command, const Flags& flags) {
  for (const auto& flag : command.flags) {
    const auto values = flags.all(flag.name);
    if (values.size() > 1 && !flag.repeats && !flag.argument.empty())
      throw UsageError("--" + flag.name + ": got '" + values[0] + "' and '" + values[1] +
                       "', expected one of them.");
  }
}

/// An empty value is mostly a variable of the shell that isn't set. A prompt may be empty.
void refuse_empty(const Command& command, const Flags& flags) {
  for (const auto& flag : command.flags)
    for (const auto& value : flags.all(flag.name))
      if (value.empty() && !flag.argument.empty() && !flag.name.ends_with("prompt"))
        throw UsageError("--" + flag.name + ": got '', expected " + flag.argument + ".");
}

/// cxxopts quotes with typographic marks.
std::string plain_quotes(std::string text) {
  for (const char* mark : {"\u2018", "\u2019"})
    for (size_t at; (at = text.find(mark)) != std::string::npos;) text.replace(at, 3, "'");
  return text;
}

/// message: "Option 'json' is missing an argument".
[[noreturn]] void refuse_without_value(const Command& command, const std::string& message) {
  for (const auto& flag : command.flags)
    if (message.find("'" + flag.name + "'") != message.npos)
      throw UsageError("--" + flag.name + ": got no value, expected " + flag.argument + ": " +
                       flag.description + ".");
  throw UsageError(command.name + ": " + message + ".");
}

cxxopts::ParseResult parse_with(const Command& command, const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"tiller"};
  for (const auto& argument : arguments) argv.push_back(argument.c_str());
  auto options = declare(command);
  try {
    return options.parse(static_cast<int>(argv.size()), argv.data());
  } catch (const cxxopts::exceptions::missing_argument& error) {
    refuse_without_value(command, plain_quotes(error.what()));
  } catch (const std::exception& error) {
    throw UsageError(command.name + ": " + plain_quotes(error.what()) + ".");
  }
}

}  // namespace

int64_t whole_from(const std::string& flag, const std::string& text, int64_t low, int64_t high,
                   const std::string& expected) {
  return parse_number<int64_t>(flag, text, low, high, expected);
}

std::string help(const Command& command, bool all) {
  std::string text = "tiller " + command.name + (command.operand.empty() ? "" : " ") +
                     command.operand + " [flags]\n" + command.description + "\n\n";
  bool left_out = false;
  for (const auto& flag : command.flags) {
    if (flag.use == Flag::rare && !all)
      left_out = true;
    else
      text += help_line("--" + flag.name + (flag.argument.empty() ? "" : " ") + flag.argument,
                        flag.description);
  }
  if (left_out) text += help_line("--help-all", "lists the flags that are rarely used too");
  text += "\nExamples:\n";
  for (const auto& example : command.examples) text += "  " + example + "\n";
  return text;
}

Flags Flags::parse(const Command& command, const std::vector<std::string>& arguments) {
  const auto result = parse_with(command, arguments);
  Flags flags;
  for (const auto& argument : result.arguments())
    flags.values_[argument.key()].push_back(argument.value());
  for (const auto& word : result.unmatched()) {
    if (word.starts_with("-")) refuse_unknown(command, word);
    if (command.operand.empty() && !flags.has("help") && !flags.has("help-all"))
      throw UsageError(command.name + ": got '" + word + "', expected only flags." +
                       (word == "+" ? " Guidances that are joined take quotes: --guidance "
                                      "'cfg:scale=2 + tpg'."
                                    : ""));
    flags.operands_.push_back(word);
  }
  refuse_repeats(command, flags);
  refuse_empty(command, flags);
  return flags;
}

std::vector<std::string> Flags::all(const std::string& flag) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::string Flags::text(const std::string& flag, const std::string& fallback) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? fallback : found->second.back();
}

std::string Flags::required(const std::string& flag, const std::string& expected) const {
  const std::string value = text(flag);
  if (value.empty()) throw UsageError("--" + flag + ": got none, expected " + expected + ".");
  return value;
}

int64_t Flags::integer(const std::string& flag, int64_t low, int64_t high, int64_t fallback) const {
  if (!has(flag)) return fallback;
  return parse_number<int64_t>(
      flag, text(flag), low, high,
      in_range("a whole number", std::to_string(low), std::to_string(high)));
}

double Flags::number(const std::string& flag, double low, double high, double fallback) const {
  if (!has(flag)) return fallback;
  return parse_number<double>(flag, text(flag), low, high,
                              in_range("a number", shortest(low), shortest(high)));
}

uint64_t Flags::seed(const std::string& flag, uint64_t fallback) const {
  if (!has(flag)) return fallback;
  return parse_number<uint64_t>(flag, text(flag), 0, UINT64_MAX, "a whole number from 0 to 2^64-1");
}

std::string Flags::choice(const std::string& flag, const std::vector<std::string>& choices,
                          const std::string& fallback) const {
  const std::string value = text(flag, fallback);
  if (std::find(choices.begin(), choices.end(), value) == choices.end())
    throw UsageError("--" + flag + ": got '" + value + "', expected one of " + enumerate(choices) +
                     "." + suggestion(value, choices));
  return value;
}

}  // namespace tiller
