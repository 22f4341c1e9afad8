#pragma once
#include "tools/evaluation_data.h"
#include "tools/inversion_figures.h"

namespace tiller {

/// All that a report of `evaluate --task inversion` shows.
struct InversionReport {
  fs::path folder;
  Json recipe;  ///< What the figures depend on, in the order in which it is shown.
  std::vector<MethodFigures> methods;
  std::vector<std::pair<std::string, std::string>> left_out;  ///< Methods, and why.
};

/// As results.json has it: the recipe, and the figures of each method.
Json report_json(const InversionReport&);
/// For the terminal: a line a method.
std::string report_table(const InversionReport&);
/// results.json, results.csv and index.html; the page shows the first `pictures` images.
void write_report(const InversionReport&, const EvaluationData&, int64_t pictures);

}  // namespace tiller
