#include "tools/evaluation_report.h"

#include <ATen/ATen.h>

#include <cmath>

#include "io/error.h"
#include "io/html.h"
#include "io/image.h"
#include "io/json.h"
#include "io/resample.h"
#include "tools/table.h"

namespace tiller {
namespace {

constexpr double shown_difference = 8;  ///< How much differences are brightened.
constexpr int64_t shown_side = 256;     ///< Larger pictures are shrunk for the page.

/// Columns that hold a figure of any method.
std::vector<FigureColumn> filled_columns(const EvaluationReport& report) {
  std::vector<FigureColumn> columns;
  for (const auto& column : report.columns)
    for (const auto& method : report.methods)
      if (!std::isnan(aggregate(method, column))) {
        columns.push_back(column);
        break;
      }
  return columns;
}

size_t measured(const MethodFigures& method) { return method.images.size() - failures(method); }

/// What went wrong with images of a method; "": nothing.
std::string trouble_of(const MethodFigures& method) {
  for (const auto& image : method.images)
    if (!image.failure.empty())
      return std::to_string(failures(method)) + " of " + std::to_string(method.images.size()) +
             " images failed, the first: " + image.failure;
  return "";
}

/// Notes on methods that failed or were left out.
std::vector<std::string> notes_of(const EvaluationReport& report) {
  std::vector<std::string> notes;
  for (const auto& method : report.methods)
    if (const auto trouble = trouble_of(method); !trouble.empty())
      notes.push_back(method.method + ": " + trouble);
  for (const auto& [method, reason] : report.left_out)
    notes.push_back(method + ": left out: " + reason);
  return notes;
}

std::string csv_of(const EvaluationReport& report) {
  std::string csv = "method,images,failed";
  for (const auto& column : report.columns) csv += "," + column.key;
  csv += "\n";
  for (const auto& method : report.methods) {
    csv += csv_field(method.method) + "," + std::to_string(measured(method)) + "," +
           std::to_string(failures(method));
    for (const auto& column : report.columns) {
      const double value = aggregate(method, column);
      csv += "," + (std::isnan(value) ? "" : shown_number(value, "%.10g"));
    }
    csv += "\n";
  }
  return csv;
}

HtmlTable html_table(const EvaluationReport& report) {
  const auto columns = filled_columns(report);
  HtmlTable table;
  table.header = {"method"};
  for (const auto& column : columns) table.header.push_back(column.title);
  for (const auto& method : report.methods) {
    std::vector<HtmlCell> row = {{method.method}};
    for (const auto& column : columns) {
      const double value = aggregate(method, column);
      row.push_back({shown_number(value), value});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// As the page shows it.
Tensor shown(const Tensor& image) {
  const int64_t height = image.size(1), width = image.size(2), side = std::max(height, width);
  if (side <= shown_side) return image;
  const auto shrunk = [&](int64_t n) { return std::max<int64_t>(1, n * shown_side / side); };
  return resample_bicubic(image, shrunk(height), shrunk(width));
}

Tensor brightened_difference(const Tensor& a, const Tensor& b) {
  return ((a.to(at::kFloat) - b.to(at::kFloat)).abs() * shown_difference)
      .clamp(0, 255)
      .to(at::kByte);
}

/// Of one image: the original and what each method made of it, below it the differences.
HtmlTable picture_table(const EvaluationReport& report, const ShownImage& image, size_t index) {
  HtmlTable table{.header = {"original"}, .rows = {}, .caption = {}, .sortable = false};
  table.caption = image.caption;
  std::vector<HtmlCell> pictures = {{image.caption, {}, shown(image.image)}},
                        differences = {{"difference x8"}};
  for (const auto& method : report.methods) {
    const std::string file = index < method.pictures.size() ? method.pictures[index] : "";
    const double psnr = method.images[index].at("psnr");
    table.header.push_back(method.method +
                           (std::isnan(psnr) ? "" : ", " + shown_number(psnr) + " dB"));
    if (file.empty()) {
      pictures.push_back({"failed"});
      differences.push_back({""});
      continue;
    }
    const Tensor made = read_image(report.folder / file);
    pictures.push_back({image.caption + " by " + method.method, {}, shown(made)});
    differences.push_back(
        {"difference by " + method.method, {}, shown(brightened_difference(image.image, made))});
  }
  table.rows = {std::move(pictures), std::move(differences)};
  return table;
}

std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string page_of(const EvaluationReport& report, const std::vector<ShownImage>& images) {
  HtmlPage page(report.title);
  page.paragraph(report.about);
  page.table(html_table(report));
  for (const auto& note : notes_of(report)) page.paragraph(note);
  if (!images.empty()) page.heading("Pictures");
  for (size_t i = 0; i < images.size(); ++i) page.table(picture_table(report, images[i], i));
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& column : filled_columns(report))
    entries.emplace_back(column.title, column.meaning);
  page.heading("Columns");
  page.list(entries);
  entries.clear();
  for (const auto& [key, value] : report.recipe.items())
    if (const auto text = plain(value); !text.empty() && text != "[]" && text != "{}")
      entries.emplace_back(key, text);
  page.heading("Run");
  page.list(entries);
  return page.text();
}

}  // namespace

Json report_json(const EvaluationReport& report) {
  Json methods = Json::array(), left_out = Json::array();
  for (const auto& method : report.methods) {
    Json entry = {
        {"method", method.method}, {"images", measured(method)}, {"failed", failures(method)}};
    for (const auto& column : report.columns) {
      const double value = aggregate(method, column);
      entry[column.key] = std::isfinite(value) ? Json(value) : Json(nullptr);
    }
    if (const auto trouble = trouble_of(method); !trouble.empty()) entry["trouble"] = trouble;
    methods.push_back(std::move(entry));
  }
  for (const auto& [method, reason] : report.left_out)
    left_out.push_back({{"method", method}, {"reason", reason}});
  return {{"task", report.task},
          {"recipe", report.recipe},
          {"methods", methods},
          {"left_out", left_out}};
}

std::string report_table(const EvaluationReport& report) {
  const auto columns = filled_columns(report);
  std::vector<std::vector<std::string>> rows = {{"method"}};
  for (const auto& column : columns) rows[0].push_back(column.title);
  for (const auto& method : report.methods) {
    rows.push_back({method.method});
    for (const auto& column : columns)
      rows.back().push_back(shown_number(aggregate(method, column)));
  }
  std::string text = table(rows);
  for (const auto& note : notes_of(report)) text += note + "\n";
  return text;
}

void write_report(const EvaluationReport& report, const std::vector<ShownImage>& images) {
  write_file(report.folder / "results.json", indented(report_json(report)) + "\n");
  write_file(report.folder / "results.csv", csv_of(report));
  write_file(report.folder / "index.html", page_of(report, images));
}

}  // namespace tiller
