#include "models/feature_cache.h"

#include <algorithm>

#include "io/error.h"

namespace tiller {
namespace {

int64_t integer_from(const Options& options, const std::string& name, int64_t low) {
  const int64_t number = options.integer(name);
  if (number < low)
    throw UsageError(name + ": got " + std::to_string(number) + ", expected " +
                     std::to_string(low) + " or more.");
  return number;
}

const CacheEntry& find_cache(const std::string& name) {
  std::vector<std::string> names = {"none"};
  for (const auto& entry : caches()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw UsageError("--cache: got '" + printable(name) + "', expected one of " + enumerate(names) +
                   "." + suggestion(name, names));
}

FeatureCache made(const CacheEntry& entry, const Options& options) {
  try {
    return entry.make(options);
  } catch (const UsageError& error) {
    throw UsageError("cache " + entry.name + ": " + error.what());
  }
}

}  // namespace

const std::vector<CacheEntry>& caches() {
  static const std::vector<CacheEntry> all = {
      {.name = "deepcache",
       .description = "DeepCache: the deep part at every few steps alone",
       .paper = "2312.00858",
       .options = {{"interval", "3", "steps from one whole evaluation to the next; 1: off"},
                   {"branch", "0", "the last skip evaluated at every step"}},
       .make =
           [](const Options& options) {
             return FeatureCache{.branch = integer_from(options, "branch", 0),
                                 .interval = integer_from(options, "interval", 1)};
           }},
      {.name = "first-block",
       .description = "the deep part wherever the first block's residual has changed enough",
       .paper = "",
       .options = {{"threshold", "0.1", "relative change below which it is left out; 0: off"},
                   {"branch", "1", "as deepcache's, 1 or more"}},
       .make = [](const Options& options) {
         return FeatureCache{.branch = integer_from(options, "branch", 1),
                             .threshold = options.number("threshold", 0)};
       }}};
  return all;
}

std::optional<FeatureCache> choose_cache(const std::string& text, const Network& network) {
  if (text.empty() || text == "none") return {};
  const size_t colon = std::min(text.find(':'), text.size());
  const CacheEntry& entry = find_cache(text.substr(0, colon));
  FeatureCache cache =
      made(entry, parse_options("cache " + entry.name,
                                colon < text.size() ? text.substr(colon + 1) : "", entry.options));
  cache.text = text;
  if (cache.branch >= network.up_blocks())
    throw UsageError("cache " + entry.name + ": branch: got " + std::to_string(cache.branch) +
                     ", expected one of the network's " + std::to_string(network.up_blocks()) +
                     " skips, counted from 0.");
  return cache;
}

}  // namespace tiller
