#include "models/site.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <regex>
#include <set>

#include "io/error.h"

namespace tiller {
namespace {

constexpr std::array<std::pair<Part, const char*>, 3> kParts = {
    {{Part::down, "down"}, {Part::mid, "mid"}, {Part::up, "up"}}};

const char* part_name(Part part) { return kParts[static_cast<size_t>(part)].second; }

/// "d0-5, m0 and u0-8": what a network has.
std::string inventory(const std::vector<Site>& sites) {
  std::vector<std::string> ranges;
  for (const auto& [part, name] : kParts) {
    const auto count = std::count_if(sites.begin(), sites.end(),
                                     [&](const Site& site) { return site.part == part; });
    if (count == 1) ranges.push_back(std::string(1, name[0]).append("0"));
    if (count > 1)
      ranges.push_back(std::string(1, name[0]).append("0-" + std::to_string(count - 1)));
  }
  return ranges.empty() ? "nothing: this model has no attention" : enumerate(ranges);
}

/// Whether one item of a pattern, between two '+', names the site.
bool names(const std::string& item, const Site& site) {
  if (item == "all" || item == part_name(site.part)) return true;
  static const std::regex range("([dmu])([0-9]{1,6})(?:-([dmu]?)([0-9]{1,6}))?");
  std::smatch match;
  if (std::regex_match(item, match, range)) {
    if (match[1].str()[0] != part_name(site.part)[0]) return false;
    if (match[3].length() && match[3] != match[1]) return false;
    const int first = std::stoi(match[2]);
    const int last = match[4].length() ? std::stoi(match[4]) : first;
    return first <= site.index && site.index <= last;
  }
  return fnmatch(item.c_str(), site.path.c_str(), 0) == 0;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> items(1);
  for (const char c : text) c == separator ? items.emplace_back() : items.back() += c, void();
  return items;
}

}  // namespace

std::string short_name(const Site& site) {
  return std::string(1, part_name(site.part)[0]).append(std::to_string(site.index));
}

Grid token_grid(const Site& site, int64_t latent_height, int64_t latent_width) {
  const int64_t d = site.downscale;
  return {(latent_height + d - 1) / d, (latent_width + d - 1) / d};
}

std::vector<int> select_sites(const std::string& pattern, const std::vector<Site>& sites) {
  std::set<int> chosen;
  for (const auto& item : split(pattern, '+')) {
    const size_t before = chosen.size();
    bool any = false;
    for (const auto& site : sites)
      if (names(item, site)) chosen.insert(site.order), any = true;
    if (!any && before == chosen.size())
      throw UsageError("layers: '" + item + "' matches nothing; this model has " +
                       inventory(sites) + " (or mid, down, up, all, or a path with *).");
  }
  return {chosen.begin(), chosen.end()};
}

SiteSet::SiteSet(const std::vector<Site>& sites) {
  for (const Site& site : sites) {
    if (chosen_.size() <= size_t(site.order)) chosen_.resize(size_t(site.order) + 1);
    chosen_[size_t(site.order)] = true;
  }
}

bool SiteSet::holds(const Site& site) const {
  return size_t(site.order) < chosen_.size() && chosen_[size_t(site.order)];
}

}  // namespace tiller
