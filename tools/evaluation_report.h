#pragma once
#include "io/file.h"
#include "tools/figures.h"

namespace tiller {
using at::Tensor;

/// All that a report of `evaluate` shows.
struct EvaluationReport {
  fs::path folder;
  std::string task;          ///< As --task has it.
  std::string title, about;  ///< The page's heading and its first paragraph.
  std::vector<FigureColumn> columns;
  Json recipe;  ///< What the figures depend on, in the order in which it is shown.
  std::vector<MethodFigures> methods;
  std::vector<std::pair<std::string, std::string>> left_out;  ///< Methods, and why.
};

/// An image that the page shows beside what each method made of it.
struct ShownImage {
  std::string caption;
  Tensor image;  ///< (3, H, W) uint8.
};

/// As results.json has it: the recipe, and the figures of each method.
Json report_json(const EvaluationReport&);
/// For the terminal: a line a method.
std::string report_table(const EvaluationReport&);
/// results.json, results.csv and index.html; the page shows the images, which are the first ones.
void write_report(const EvaluationReport&, const std::vector<ShownImage>&);

}  // namespace tiller
