#include "guidance/registry.h"

#include "io/error.h"

namespace tiller {

/// One line a guidance: X(name) lists what `GuidanceEntry name_guidance()` in its own file returns.
#define TILLER_GUIDANCES(X) \
  X(cfg)                    \
  X(tpg)                    \
  X(asag)                   \
  X(pag)                    \
  X(seg)                    \
  X(rescale)

#define TILLER_DECLARE(name) GuidanceEntry name##_guidance();
TILLER_GUIDANCES(TILLER_DECLARE)
#undef TILLER_DECLARE

namespace {

std::vector<GuidanceEntry> all_guidances() {
#define TILLER_ENTRY(name) name##_guidance(),
  std::vector<GuidanceEntry> all = {TILLER_GUIDANCES(TILLER_ENTRY)};
#undef TILLER_ENTRY
  for (auto& entry : all) {
    entry.options.push_back({"from", "0", "share of the steps before it starts"});
    entry.options.push_back({"to", "1", "share of the steps after which it stops"});
  }
  return all;
}

bool has_layers(const GuidanceEntry& entry) {
  for (const auto& option : entry.options)
    if (option.name == "layers") return true;
  return false;
}

/// For a sum that was written without spaces, or with commas.
std::string sum_hint(const std::string& text) {
  for (const auto& entry : guidances())
    for (const char* joint : {"+", ","})
      if (text.find(joint + entry.name) != std::string::npos)
        return " Join guidances by ' + ' with spaces.";
  return "";
}

const GuidanceEntry& find_guidance(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : guidances()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  names.push_back("none");
  throw UsageError("guidance: got '" + name + "', expected one of " + enumerate(names, 40) + "." +
                   suggestion(name, names) + sum_hint(name));
}

void require_negative(const Model& model) {
  if (model.kind != "adm" || model.null_label) return;
  std::vector<std::string> others;
  for (const auto& entry : guidances())
    if (has_layers(entry)) others.push_back(entry.name);
  throw UsageError(std::string("got a model that ") +
                   (model.classes ? "was trained without label dropout" : "knows no labels") +
                   ", expected one with an unconditional branch. Without one there are " +
                   enumerate(others) + ".");
}

std::vector<Site> chosen_sites(const GuidanceEntry& entry, const Options& options,
                               const std::vector<Site>& sites) {
  if (sites.empty())
    throw UsageError("got a network without attention, expected one with attention blocks.");
  const std::string layers =
      options.has("layers") ? options.text("layers") : entry.default_layers(sites);
  std::vector<Site> chosen;
  for (const int order : select_sites(layers, sites)) chosen.push_back(sites[order]);
  return chosen;
}

ChosenGuidance configure(const GuidanceEntry& entry, const std::string& text,
                         const std::string& written, const Model& model) {
  const Options options = parse_options("options", written, entry.options);
  if (entry.needs_negative) require_negative(model);
  std::vector<Site> sites;
  if (has_layers(entry)) sites = chosen_sites(entry, options, model.network->sites());
  ChosenGuidance chosen;
  chosen.text = text;
  chosen.entry = &entry;
  chosen.from = options.number("from", 0, 1);
  chosen.to = options.number("to", 0, 1);
  if (chosen.from >= chosen.to)
    throw UsageError("from: got '" + options.text("from") + "', expected less than to (" +
                     options.text("to") + ").");
  for (const Site& site : sites) chosen.sites.push_back(site.path);
  chosen.guidance = entry.make(options, std::move(sites));
  return chosen;
}

ChosenGuidance choose(const std::string& text, const Model& model) {
  const size_t colon = text.find(':');
  const GuidanceEntry& entry = find_guidance(text.substr(0, colon));
  const std::string options = colon == std::string::npos ? "" : text.substr(colon + 1);
  try {
    return configure(entry, text, options, model);
  } catch (const UsageError& error) {
    throw UsageError("guidance " + entry.name + ": " + error.what() + sum_hint(text));
  }
}

std::vector<std::string> split_sum(const std::string& text) {
  const std::string plus = " + ";
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = text.find(plus, begin)) != std::string::npos; begin = end + plus.size())
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

}  // namespace

const std::vector<GuidanceEntry>& guidances() {
  static const std::vector<GuidanceEntry> all = all_guidances();
  return all;
}

std::vector<ChosenGuidance> choose_guidances(const std::vector<std::string>& texts,
                                             const Model& model) {
  std::vector<ChosenGuidance> chosen;
  for (const auto& text : texts)
    for (const auto& part : split_sum(text))
      if (part != "none") chosen.push_back(choose(part, model));
  return chosen;
}

}  // namespace tiller
