#include "training/report.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "io/error.h"
#include "io/html.h"
#include "io/image.h"
#include "training/log.h"

namespace tiller {
namespace {

/// Charts of more points than this show means of neighbours; pages hold no more grids than that.
constexpr size_t most_points = 500, most_grids = 24;

struct Curve {
  std::vector<double> steps, values;
};

/// Every number of the log by its name. Lines that are cut off count for nothing.
std::map<std::string, Curve> curves_of(const fs::path& log) {
  std::map<std::string, Curve> curves;
  for_each_line(log, [&](const std::string&, const nlohmann::ordered_json& json) {
    if (!json.contains("step") || !json["step"].is_number()) return;
    for (const auto& [name, value] : json.items()) {
      if (name == "step" || !value.is_number()) continue;
      Curve& curve = curves[name];
      curve.steps.push_back(json["step"].get<double>());
      curve.values.push_back(value.get<double>());
    }
  });
  return curves;
}

/// The curve's points, or means of as many neighbours as it takes.
HtmlSeries series_of(const std::string& name, const Curve& curve) {
  HtmlSeries series{name, {}};
  const size_t group = (curve.steps.size() + most_points - 1) / most_points;
  for (size_t first = 0; first < curve.steps.size(); first += group) {
    const size_t last = std::min(first + group, curve.steps.size());
    double sum = 0;
    for (size_t i = first; i < last; ++i) sum += curve.values[i];
    series.points.push_back({curve.steps[last - 1], sum / double(last - first), NAN});
  }
  return series;
}

void add_chart(HtmlPage& page, const std::map<std::string, Curve>& curves, const std::string& name,
               const std::string& title) {
  const auto found = curves.find(name);
  if (found == curves.end()) return;
  page.chart({title, "step", title, {series_of(title, found->second)}});
}

/// The FD curves in one chart: they are measured at few steps, so that all points are shown.
void add_distances(HtmlPage& page, const std::map<std::string, Curve>& curves) {
  HtmlChart chart{"Fréchet distance", "step", "FD", {}};
  for (const auto& [name, curve] : curves)
    if (name == "fid" || name.starts_with("fd_")) chart.series.push_back(series_of(name, curve));
  if (!chart.series.empty()) page.chart(chart);
}

/// samples/step-N.png by N.
std::map<int64_t, fs::path> grids_of(const fs::path& folder) {
  std::map<int64_t, fs::path> grids;
  if (!fs::is_directory(folder)) return grids;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    const std::string digits = name.starts_with("step-") ? name.substr(5) : "";
    const bool counts = !digits.empty() && digits.size() < 18 &&
                        digits.find_first_not_of("0123456789") == std::string::npos;
    if (counts && entry.path().extension() == ".png") grids[std::stoll(digits)] = entry.path();
  }
  return grids;
}

/// Evenly over the run, the last one always, the latest first.
std::vector<HtmlFigure> figures_of(const std::map<int64_t, fs::path>& grids) {
  std::vector<HtmlFigure> figures;
  const size_t every = std::max<size_t>(1, (grids.size() + most_grids - 1) / most_grids);
  size_t from_last = 0;
  for (auto it = grids.rbegin(); it != grids.rend(); ++it, ++from_last)
    if (from_last % every == 0)
      figures.push_back(png_figure(it->second, "step " + std::to_string(it->first)));
  return figures;
}

std::string summary_of(const std::map<std::string, Curve>& curves) {
  const auto loss = curves.find("loss");
  if (loss == curves.end()) return "Nothing is logged yet.";
  char text[96];
  std::snprintf(text, sizeof text, "Step %.0f, loss %.4g.", loss->second.steps.back(),
                loss->second.values.back());
  return text;
}

}  // namespace

void write_training_page(const fs::path& output) {
  const auto curves = curves_of(output / "log.jsonl");
  HtmlPage page("Training: " + name_of(output));
  page.paragraph(summary_of(curves));
  add_chart(page, curves, "loss", "Loss");
  add_distances(page, curves);
  add_chart(page, curves, "learning_rate", "Learning rate");
  add_chart(page, curves, "images_per_second", "Images a second");
  add_chart(page, curves, "gradient_norm", "Norm of the gradient");
  const auto figures = figures_of(grids_of(output / "samples"));
  if (!figures.empty()) page.heading("Samples");
  if (!figures.empty()) page.slider(figures);
  write_file(output / "index.html", page.text());
}

}  // namespace tiller
