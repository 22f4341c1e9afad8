#include "guidance/edit_controls.h"

#include <algorithm>

#include "io/error.h"

namespace tiller {

/// One line a control: X(name) lists what `EditControlEntry name_control()` in its own file
/// returns.
#define TILLER_EDIT_CONTROLS(X) \
  X(prompt_to_prompt)           \
  X(masactrl)                   \
  X(plug_and_play)

#define TILLER_DECLARE(name) EditControlEntry name##_control();
TILLER_EDIT_CONTROLS(TILLER_DECLARE)
#undef TILLER_DECLARE

namespace {

const EditControlEntry& find_control(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : edit_controls()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw UsageError("edit control: got '" + name + "', expected one of " + enumerate(names) + "." +
                   suggestion(name, names));
}

std::vector<Site> chosen_sites(const EditControlEntry& entry, const Options& options,
                               const std::vector<Site>& sites) {
  if (!entry.default_layers) return {};
  if (sites.empty())
    throw UsageError("got a network without attention, expected one with attention blocks.");
  const std::string layers =
      options.has("layers") ? options.text("layers") : entry.default_layers(sites);
  std::vector<Site> chosen;
  for (const int order : select_sites(layers, sites)) chosen.push_back(sites[size_t(order)]);
  return chosen;
}

}  // namespace

const std::vector<EditControlEntry>& edit_controls() {
#define TILLER_ENTRY(name) name##_control(),
  static const std::vector<EditControlEntry> all = {TILLER_EDIT_CONTROLS(TILLER_ENTRY)};
#undef TILLER_ENTRY
  return all;
}

ChosenEditControl choose_edit_control(const std::string& text, const Model& model,
                                      std::vector<PromptPair> prompts) {
  const size_t colon = std::min(text.find(':'), text.size());
  const EditControlEntry& entry = find_control(text.substr(0, colon));
  try {
    if (entry.needs_text && prompts.empty())
      throw UsageError("got a model that reads no text, expected a text-to-image model.");
    const Options options =
        parse_options("options", colon < text.size() ? text.substr(colon + 1) : "", entry.options);
    ChosenEditControl chosen{text, &entry, {}, {}};
    auto sites = chosen_sites(entry, options, model.network->sites());
    for (const Site& site : sites) chosen.sites.push_back(site.path);
    chosen.control =
        entry.make(options, {std::move(sites), model.network->up_blocks(), std::move(prompts)});
    return chosen;
  } catch (const UsageError& error) {
    throw UsageError("edit control " + entry.name + ": " + error.what());
  }
}

std::string sites_from(const std::vector<Site>& sites, size_t order) {
  std::string pattern;
  for (const Part part : {Part::down, Part::mid, Part::up}) {
    std::string first, last;
    for (const Site& site : sites) {
      if (site.part != part || size_t(site.order) < order) continue;
      if (first.empty()) first = short_name(site);
      last = std::to_string(site.index);
    }
    if (!first.empty()) pattern += (pattern.empty() ? "" : "+") + first + "-" + last;
  }
  return pattern;
}

}  // namespace tiller
