#include "guidance/registry.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {

/// One line a guidance: X(name) lists what `GuidanceEntry name_guidance()` in its own file returns.
#define TILLER_GUIDANCES(X) \
  X(cfg)                    \
  X(apg)                    \
  X(cfg_plus_plus)          \
  X(cfg_zero)               \
  X(tcfg)                   \
  X(mambo)                  \
  X(tag_cfg)                \
  X(smc_cfg)                \
  X(fdg)                    \
  X(dynthresh)              \
  X(perp_neg)               \
  X(icg)                    \
  X(nag)                    \
  X(tpg)                    \
  X(ssg)                    \
  X(asag)                   \
  X(pag)                    \
  X(seg)                    \
  X(slg)                    \
  X(tsg)                    \
  X(swg)                    \
  X(sag)                    \
  X(autoguidance)           \
  X(pladis)                 \
  X(freeu)                  \
  X(tag)                    \
  X(momentum)               \
  X(rescale)

#define TILLER_DECLARE(name) GuidanceEntry name##_guidance();
TILLER_GUIDANCES(TILLER_DECLARE)
#undef TILLER_DECLARE

namespace {

bool has_option(const GuidanceEntry& entry, const std::string& name) {
  return std::any_of(entry.options.begin(), entry.options.end(),
                     [&](const Option& option) { return option.name == name; });
}

std::vector<GuidanceEntry> all_guidances() {
#define TILLER_ENTRY(name) name##_guidance(),
  std::vector<GuidanceEntry> all = {TILLER_GUIDANCES(TILLER_ENTRY)};
#undef TILLER_ENTRY
  const std::vector<Option> interval = {
      {"from", "0", "share of the steps before it starts"},
      {"to", "1", "share of the steps after which it stops"},
      {"sigma_from", "inf", "starts at sigmas up to this one"},
      {"sigma_to", "0", "stops at sigmas down to this one"},
  };
  for (auto& entry : all)
    for (const auto& option : interval)
      if (!has_option(entry, option.name)) entry.options.push_back(option);
  return all;
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
  if (model.reads_text() || model.null_label) return;
  std::vector<std::string> others;
  for (const auto& entry : guidances())
    if (!entry.needs_negative && !entry.needs_text && entry.name != "rescale" &&
        (model.classes || entry.name != "icg"))
      others.push_back(entry.name);
  throw UsageError(std::string("got a model that ") +
                   (model.classes ? "was trained without label dropout" : "knows no labels") +
                   ", expected one with an unconditional branch. Without one there are " +
                   enumerate(others, others.size()) + ".");
}

void require_text(const Model& model) {
  if (!model.reads_text())
    throw UsageError("got a model that reads no text, expected a text-to-image model.");
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

void read_interval(const Options& options, ChosenGuidance& chosen) {
  const double infinity = std::numeric_limits<double>::infinity();
  chosen.from = options.number("from", 0, 1);
  chosen.to = options.number("to", 0, 1);
  if (chosen.from >= chosen.to)
    throw UsageError("from: got '" + options.text("from") + "', expected less than to (" +
                     options.text("to") + ").");
  chosen.sigma_from = options.number("sigma_from", 0, infinity);
  chosen.sigma_to = options.number("sigma_to", 0, infinity);
  if (chosen.sigma_from <= chosen.sigma_to)
    throw UsageError("sigma_from: got '" + options.text("sigma_from") +
                     "', expected more than sigma_to (" + options.text("sigma_to") + ").");
}

ChosenGuidance configure(const GuidanceEntry& entry, const std::string& text,
                         const std::string& written, const Model& model, const ModelLoader& load) {
  const Options options = parse_options("options", written, entry.options);
  if (entry.needs_text) require_text(model);
  if (entry.needs_negative) require_negative(model);
  std::vector<Site> sites;
  if (has_option(entry, "layers")) sites = chosen_sites(entry, options, model.network->sites());
  ChosenGuidance chosen;
  chosen.text = text;
  chosen.entry = &entry;
  read_interval(options, chosen);
  for (const Site& site : sites) chosen.sites.push_back(site.path);
  chosen.guidance = entry.make(options, {model, load, std::move(sites)});
  return chosen;
}

ChosenGuidance choose(const std::string& text, const Model& model, const ModelLoader& load) {
  const size_t colon = text.find(':');
  const GuidanceEntry& entry = find_guidance(text.substr(0, colon));
  const std::string options = colon == std::string::npos ? "" : text.substr(colon + 1);
  try {
    return configure(entry, text, options, model, load);
  } catch (const UsageError& error) {
    throw UsageError("guidance " + entry.name + ": " + error.what() + sum_hint(text));
  }
}

bool overlap(const ChosenGuidance& a, const ChosenGuidance& b) {
  return a.from < b.to && b.from < a.to && a.sigma_to < b.sigma_from && b.sigma_to < a.sigma_from;
}

void refuse_rivals(const std::vector<ChosenGuidance>& chosen) {
  for (size_t i = 0; i < chosen.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const GuidanceEntry &a = *chosen[j].entry, &b = *chosen[i].entry;
      const bool namesakes = a.name == a.family && b.name == b.family;
      if (a.family.empty() || a.family != b.family || namesakes || !overlap(chosen[i], chosen[j]))
        continue;
      std::vector<std::string> names;
      for (const auto& entry : guidances())
        if (entry.family == a.family) names.push_back(entry.name);
      throw UsageError("guidance " + b.name + ": got it at the same steps as " + a.name +
                       ", expected one at a time" +
                       (names.size() > 1 ? " of " + enumerate(names, 20) : "") +
                       ". Drop one or part them by from and to.");
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

bool need_empty_prompt(const std::vector<std::string>& texts) {
  for (const auto& text : texts)
    for (const auto& part : split_sum(text))
      if (part != "none" && find_guidance(part.substr(0, part.find(':'))).needs_empty) return true;
  return false;
}

std::vector<ChosenGuidance> choose_guidances(const std::vector<std::string>& texts,
                                             const Model& model, const ModelLoader& load) {
  const ModelLoader like_the_first = [&model](const fs::path& path) {
    const Tensor& tensor = model.parameters.front().second;
    return load_model(path, tensor.scalar_type(), tensor.device());
  };
  std::vector<ChosenGuidance> chosen;
  for (const auto& text : texts)
    for (const auto& part : split_sum(text))
      if (part != "none") chosen.push_back(choose(part, model, load ? load : like_the_first));
  refuse_rivals(chosen);
  return chosen;
}

}  // namespace tiller
