#pragma once
#include <memory>

#include "guidance/guidance.h"
#include "io/options.h"
#include "models/model.h"

namespace tiller {

/// A guidance as the command line and `tiller list` know it.
struct GuidanceEntry {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::vector<Option> options;
  /// Whether the model must know an unconditional branch (a null label or a negative prompt).
  bool needs_negative = false;
  /// For an option `layers` without a default: where it acts in such a network, as a pattern for
  /// select_sites.
  std::string (*default_layers)(const std::vector<Site>&) = nullptr;
  /// sites: those chosen by the option `layers`; empty where there is no such option.
  std::unique_ptr<Guidance> (*make)(const Options&, std::vector<Site> sites) = nullptr;
};

/// All guidances, in the order in which they are listed. Each understands `from` and `to` too.
const std::vector<GuidanceEntry>& guidances();

/// A guidance as chosen, limited to floor(from * steps) <= step < floor(to * steps).
struct ChosenGuidance {
  std::string text;  ///< As written, "tpg:scale=3".
  const GuidanceEntry* entry = nullptr;
  double from = 0, to = 1;
  std::vector<std::string> sites;  ///< Paths of the sites chosen, for --json and the recipe.
  std::unique_ptr<Guidance> guidance;
};

/// Reads "cfg:scale=2 + tpg:scale=3,layers=mid" (each of `texts` may hold several joined by " + ");
/// "none" adds nothing. A name may come twice: the differences add up. Throws UsageError on an
/// unknown name, option or layer, and when a guidance needs an unconditional branch that the model
/// lacks.
std::vector<ChosenGuidance> choose_guidances(const std::vector<std::string>& texts, const Model&);

}  // namespace tiller
