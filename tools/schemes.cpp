#include "tools/schemes.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "io/error.h"
#include "io/file.h"
#include "tools/request.h"

namespace tiller {
namespace {

constexpr size_t most_schemes = 1000, most_bytes = size_t{1} << 20;

/// Stops files whose lists are multiplied beyond all use.
void require_few(const std::string& where, size_t count) {
  if (count > most_schemes)
    throw UsageError(where + ": got more than " + std::to_string(most_schemes) +
                     " schemes, expected at most that.");
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (size_t begin = 0, end; begin <= text.size(); begin = end + 1) {
    end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
  }
  return parts;
}

[[noreturn]] void refuse(const std::string& file, const YAML::Node& node,
                         const std::string& expected, const std::string& hint = "") {
  throw Error(file + ": line " + std::to_string(node.Mark().line + 1) + ": expected " + expected +
              "." + hint);
}

/// A value or a list of values.
std::vector<std::string> texts_of(const std::string& file, const YAML::Node& node) {
  if (node.IsScalar()) return {node.Scalar()};
  if (!node.IsSequence() || node.size() == 0) refuse(file, node, "a value or a list of values");
  std::vector<std::string> texts;
  for (const auto& item : node) {
    if (!item.IsScalar()) refuse(file, item, "a value");
    texts.push_back(item.Scalar());
  }
  return texts;
}

/// What guidances are combined with.
struct Ways {
  std::vector<std::string> samplers = {""};
  std::vector<int64_t> steps = {0};
  std::vector<std::string> caches = {""};
  std::vector<std::string> parallels = {""};
};

void add_guidances(const std::string& where, const std::vector<std::string>& texts,
                   const Ways& ways, std::vector<Scheme>& schemes) {
  for (const auto& text : texts)
    for (const auto& guidance : expand_braces(where, text))
      for (const auto& sampler : ways.samplers)
        for (const int64_t count : ways.steps)
          for (const auto& cache : ways.caches)
            for (const auto& parallel : ways.parallels) {
              schemes.push_back({guidance, sampler, count, cache, parallel});
              require_few(where, schemes.size());
            }
}

std::vector<int64_t> step_counts(const std::string& file, const std::vector<std::string>& texts) {
  std::vector<int64_t> counts;
  for (const auto& text : texts)
    counts.push_back(
        whole_from("schemes " + file, text, 1, RequestLimits::steps, "a number of steps"));
  return counts;
}

void add_map(const std::string& file, const YAML::Node& node, std::vector<Scheme>& schemes) {
  std::vector<std::string> guidances;
  std::set<std::string> seen;
  Ways ways;
  for (const auto& entry : node) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const std::vector<std::string> known = {"guidance", "sampler", "steps", "cache", "parallel"};
    if (std::find(known.begin(), known.end(), key) == known.end())
      refuse(file, entry.first, "one of " + enumerate(known), suggestion(key, known));
    if (!seen.insert(key).second) refuse(file, entry.first, "a key `" + key + "` once");
    const auto texts = texts_of(file, entry.second);
    if (key == "guidance") guidances = texts;
    if (key == "sampler") ways.samplers = texts;
    if (key == "steps") ways.steps = step_counts(file, texts);
    if (key == "cache") ways.caches = texts;
    if (key == "parallel") ways.parallels = texts;
  }
  if (guidances.empty()) refuse(file, node, "a key `guidance`");
  add_guidances(file, guidances, ways, schemes);
}

void add_file(const std::string& file, std::vector<Scheme>& schemes) {
  YAML::Node list;
  try {
    list = YAML::Load(read_file(file, most_bytes));
  } catch (const YAML::Exception& error) {
    throw Error(file + ": line " + std::to_string(error.mark.line + 1) +
                ": got text that is neither YAML nor JSON, expected a list of schemes: " +
                printable(error.msg) + ".");
  }
  if (!list.IsSequence() || list.size() == 0)
    throw Error(file + ": got no list, expected one of schemes.");
  for (const auto& item : list) {
    if (item.IsMap())
      add_map(file, item, schemes);
    else
      add_guidances(file, texts_of(file, item), {}, schemes);
  }
}

}  // namespace

std::string Scheme::name() const {
  std::string text = guidance;
  if (!sampler.empty()) text += ", " + sampler;
  if (steps) text += ", " + std::to_string(steps) + " steps";
  if (!cache.empty()) text += ", " + (cache == "none" ? "no cache" : cache);
  if (!parallel.empty()) text += ", " + (parallel == "none" ? "sequential" : parallel);
  return text;
}

std::vector<std::string> expand_braces(const std::string& where, const std::string& text) {
  const size_t open = text.find('{'), close = text.find('}');
  if (open == text.npos && close == text.npos) return {text};
  const size_t again = open == text.npos ? text.npos : text.find('{', open + 1);
  if (open == text.npos || close == text.npos || close < open || again < close)
    throw UsageError(where + ": got '" + printable(text) +
                     "', expected braces in pairs, not within each other: cfg:scale={1,2}.");
  std::vector<std::string> texts;
  for (const auto& choice : split(text.substr(open + 1, close - open - 1), ',')) {
    if (choice.empty())
      throw UsageError(where + ": got '" + printable(text) +
                       "', expected a value on each side of a comma in braces.");
    for (const auto& rest : expand_braces(where, text.substr(close + 1))) {
      texts.push_back(text.substr(0, open) + choice + rest);
      require_few(where, texts.size());
    }
  }
  return texts;
}

std::vector<Scheme> choose_schemes(const Flags& flags) {
  std::vector<Scheme> schemes;
  add_guidances("--scheme", flags.all("scheme"), {}, schemes);
  for (const auto& file : flags.all("schemes")) add_file(file, schemes);
  if (schemes.empty())
    throw UsageError(
        "--scheme: got none, expected guidances to compare, such as none and "
        "cfg:scale={1.5,2}.");
  for (auto scheme = schemes.begin(); scheme != schemes.end(); ++scheme)
    if (std::find(schemes.begin(), scheme, *scheme) != scheme)
      throw UsageError("--scheme: got " + scheme->name() + " twice, expected each once.");
  return schemes;
}

}  // namespace tiller
