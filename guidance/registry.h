#pragma once
#include <memory>

#include "guidance/guidance.h"
#include "models/model.h"
#include "io/options.h"

namespace tiller {

/// A guidance as the command line and `tiller list` know it.
struct GuidanceEntry {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::vector<Option> options;
  /// Whether the model must know an unconditional branch (a null label or a negative prompt).
  bool needs_negative = false;
  std::unique_ptr<Guidance> (*make)(const Options&, const std::vector<Site>&);
};

/// All guidances, in the order in which they are listed.
const std::vector<GuidanceEntry>& guidances();

/// A guidance as chosen, limited to steps from <= step / steps < to.
struct ChosenGuidance {
  std::string text;             ///< As written, "tpg:scale=3".
  const GuidanceEntry* entry;
  double from = 0, to = 1;
  std::vector<std::string> sites;  ///< Paths of the sites chosen, for --json and the recipe.
  std::unique_ptr<Guidance> guidance;
};

/// Reads "cfg:scale=2 + tpg:scale=3,layers=mid" (each of `texts` may hold several joined by " + ").
/// Throws UsageError on an unknown name, option or layer, and when a guidance needs an unconditional
/// branch that the model lacks.
std::vector<ChosenGuidance> choose_guidances(const std::vector<std::string>& texts, const Model&);

}  // namespace tiller
