#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tiller {

/// A flag of a subcommand, without the leading dashes.
struct Flag {
  std::string name;
  std::string argument;                    ///< How help names its value; "": a switch.
  std::string description;                 ///< One line.
  enum Use { common, rare } use = common;  ///< Rare ones stand in --help-all only.
  bool repeats = false;                    ///< Others with a value may be given once.
};

class Flags;

/// A subcommand as the program and its help know it.
struct Command {
  std::string name;
  std::string description;  ///< One line.
  std::string operand;      ///< How help names what stands without a flag; "": nothing may.
  std::vector<Flag> flags;
  std::vector<std::string> examples;
  int (*run)(const Flags&);  ///< Returns the exit code.
};

/// Fits a screen: at most 40 lines of 100 columns. `all`: with the flags that are rarely used.
std::string help(const Command&, bool all = false);

/// A whole number that a flag's text holds. Throws UsageError "--FLAG: got 'TEXT', expected
/// EXPECTED."
int64_t whole_from(const std::string& flag, const std::string& text, int64_t low, int64_t high,
                   const std::string& expected);

/// A command line as given. Readers throw UsageError naming the flag, what was found and what was
/// expected.
class Flags {
 public:
  /// Throws UsageError on an unknown flag, with a suggestion, on a missing value and on a second
  /// one of a flag that doesn't repeat.
  static Flags parse(const Command&, const std::vector<std::string>& arguments);

  bool has(const std::string& flag) const { return values_.contains(flag); }
  /// Every value of a flag that repeats, in order, commas and all.
  std::vector<std::string> all(const std::string& flag) const;
  /// The value given; of a flag that repeats the last.
  std::string text(const std::string& flag, const std::string& fallback = "") const;
  /// The value of a flag that the command can't do without; throws UsageError "--FLAG: got none,
  /// expected EXPECTED."
  std::string required(const std::string& flag, const std::string& expected) const;
  int64_t integer(const std::string& flag, int64_t low, int64_t high, int64_t fallback) const;
  double number(const std::string& flag, double low, double high, double fallback) const;
  uint64_t seed(const std::string& flag, uint64_t fallback) const;
  std::string choice(const std::string& flag, const std::vector<std::string>& choices,
                     const std::string& fallback) const;
  const std::vector<std::string>& operands() const { return operands_; }

 private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> operands_;
};

}  // namespace tiller
