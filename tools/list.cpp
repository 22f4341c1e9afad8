#include <iostream>

#include "guidance/edit_controls.h"
#include "io/error.h"
#include "io/json.h"
#include "metrics/set_metrics.h"
#include "models/feature_cache.h"
#include "samplers/parallel.h"
#include "samplers/registry.h"
#include "tools/request.h"
#include "tools/table.h"

namespace tiller {
namespace {

/// What samplers, guidances and edit controls have in common.
struct Entry {
  std::string name, description, paper;
  std::vector<Option> options;
};

struct Category {
  std::string name, flag;
  std::vector<Entry> entries;
  std::vector<Option> shared;  ///< Options that every entry takes.
};

bool same(const Option& a, const Option& b) {
  return a.name == b.name && a.value == b.value && a.description == b.description;
}

bool is_shared(const Option& option, const std::vector<Option>& shared) {
  return std::any_of(shared.begin(), shared.end(),
                     [&](const Option& other) { return same(option, other); });
}

/// Options that all entries of a category have, most of them with the same default.
std::vector<Option> shared_options(const std::vector<Entry>& entries) {
  std::vector<Option> shared = entries.front().options;
  std::erase_if(shared, [&](const Option& option) {
    size_t alike = 0, named = 0;
    for (const auto& entry : entries)
      for (const auto& other : entry.options) {
        alike += same(option, other);
        named += option.name == other.name;
      }
    return named < entries.size() || 2 * alike <= entries.size();
  });
  return shared;
}

template <class Table>
Category category(const std::string& name, const std::string& flag, const Table& entries) {
  Category result{name, flag, {}, {}};
  for (const auto& entry : entries)
    result.entries.push_back({entry.name, entry.description, entry.paper, entry.options});
  if (!result.entries.empty()) result.shared = shared_options(result.entries);
  return result;
}

Category metrics_category() {
  Category result{"metrics", "--metrics", {}, {}};
  for (const auto& metric : set_metrics())
    result.entries.push_back({metric.name, metric.description, metric.paper, {}});
  return result;
}

std::vector<Category> categories() {
  return {category("samplers", "--sampler", samplers()),
          category("guidances", "--guidance", guidances()),
          category("caches", "--cache", caches()),
          category("parallel", "--parallel", parallel_methods()),
          category("edit-controls", "--edit-control", edit_controls()),
          category("features", "--features", feature_kinds()),
          metrics_category()};
}

std::string paper_of(const Entry& entry) {
  return entry.paper.empty() ? "" : "arXiv " + entry.paper;
}

std::vector<std::string> option_row(const Option& option) {
  return {option.name + "=" + option.value, option.description};
}

std::string text_of(const Category& category) {
  const bool optioned = std::any_of(category.entries.begin(), category.entries.end(),
                                    [](const Entry& entry) { return !entry.options.empty(); });
  std::string text = category.name + ", for " + category.flag +
                     (optioned ? " NAME[:key=value,...]\n\n" : " NAME,...\n\n");
  std::vector<std::vector<std::string>> rows;
  for (const auto& entry : category.entries)
    rows.push_back({entry.name, paper_of(entry), entry.description});
  text += table(rows, 2);
  const auto add = [&](const std::string& title, const std::vector<Option>& options) {
    rows.clear();
    for (const auto& option : options) rows.push_back(option_row(option));
    if (!rows.empty()) text += "\n  " + title + "\n" + table(rows, 4);
  };
  for (const auto& entry : category.entries) {
    std::vector<Option> own = entry.options;
    std::erase_if(own, [&](const Option& option) { return is_shared(option, category.shared); });
    add(entry.name, own);
  }
  add("every one of them", category.shared);
  return text;
}

Json json_of(const Category& category) {
  Json entries = Json::array();
  for (const auto& entry : category.entries) {
    Json options = Json::array();
    for (const auto& option : entry.options)
      options.push_back(
          {{"name", option.name}, {"default", option.value}, {"description", option.description}});
    entries.push_back({{"name", entry.name},
                       {"description", entry.description},
                       {"paper", entry.paper},
                       {"options", options}});
  }
  return entries;
}

/// The category of that name, else what each category has of that name.
std::vector<Category> categories_of(const std::string& word, const std::vector<Category>& all) {
  std::vector<Category> chosen;
  for (const auto& category : all)
    if (category.name == word) return {category};
  for (Category category : all) {
    std::erase_if(category.entries, [&](const Entry& entry) { return entry.name != word; });
    if (!category.entries.empty()) chosen.push_back(std::move(category));
  }
  return chosen;
}

std::vector<Category> chosen_categories(const std::vector<std::string>& words) {
  const auto all = categories();
  if (words.empty()) return all;
  std::vector<Category> chosen;
  for (const auto& word : words) {
    auto found = categories_of(word, all);
    if (found.empty()) {
      std::vector<std::string> names, entries;
      for (const auto& category : all) {
        names.push_back(category.name);
        for (const auto& entry : category.entries) entries.push_back(entry.name);
      }
      entries.insert(entries.end(), names.begin(), names.end());
      throw UsageError("list: got '" + word + "', expected one of " + enumerate(names) +
                       " or a name in them." + suggestion(word, entries));
    }
    for (auto& category : found) chosen.push_back(std::move(category));
  }
  return chosen;
}

int list(const Flags& flags) {
  const auto chosen = chosen_categories(flags.operands());
  Json json = Json::object();
  for (size_t i = 0; i < chosen.size(); ++i) {
    for (const Json& entry : json_of(chosen[i])) json[chosen[i].name].push_back(entry);
    if (!flags.has("json")) std::cout << (i ? "\n" : "") << text_of(chosen[i]);
  }
  if (flags.has("json")) std::cout << indented(json) << "\n";
  return 0;
}

}  // namespace

Command list_command() {
  return {
      .name = "list",
      .description =
          "Lists samplers, guidances, caches, parallel methods, edit controls, features, metrics.",
      .operand = "[samplers|guidances|caches|parallel|edit-controls|features|metrics|NAME]",
      .flags = {{"json", "", "as JSON"}},
      .examples = {"tiller list ddim", "tiller list guidances --json"},
      .run = list};
}

}  // namespace tiller
