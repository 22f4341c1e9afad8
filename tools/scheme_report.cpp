#include "tools/scheme_report.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "io/html.h"
#include "io/image.h"
#include "io/json.h"
#include "tools/table.h"

namespace tiller {
namespace {

const Figure* find(const SchemeResult& result, const std::string& key) {
  for (const auto& figure : result.figures)
    if (figure.key == key) return &figure;
  return nullptr;
}

/// "kid_mean_r56" is shown with "kid_std_r56" behind it, in one column.
std::string deviation_key(const std::string& key) {
  const size_t mean = key.find("_mean");
  return mean == key.npos ? "" : key.substr(0, mean) + "_std" + key.substr(mean + 5);
}

/// "12.6 \u00b1 0.3", or "0.748 (0.14)" with a standard deviation.
std::string cell_text(const SchemeResult& result, const Figure& figure) {
  std::string text = shown_number(figure.value);
  if (!std::isnan(figure.margin)) text += " \u00b1 " + shown_number(figure.margin, "%.2g");
  if (const Figure* std = find(result, deviation_key(figure.key)))
    text += " (" + shown_number(std->value, "%.2g") + ")";
  return text;
}

/// Every figure that any scheme has, in order.
std::vector<Figure> columns_of(const SchemeReport& report) {
  std::vector<Figure> columns;
  for (const auto& scheme : report.schemes)
    for (const auto& figure : scheme.figures) {
      const auto same = [&](const Figure& column) { return column.key == figure.key; };
      if (std::none_of(columns.begin(), columns.end(), same)) columns.push_back(figure);
    }
  return columns;
}

/// Those with a column of their own where people read.
std::vector<Figure> shown_columns(const SchemeReport& report) {
  std::vector<Figure> columns = columns_of(report);
  std::erase_if(columns,
                [](const Figure& column) { return column.key.find("_std") != std::string::npos; });
  return columns;
}

/// The distance that charts show: the first figure that is better when lower.
std::optional<Figure> main_distance(const SchemeReport& report) {
  for (const auto& column : columns_of(report))
    if (column.lower_is_better) return column;
  return {};
}

struct CostColumn {
  std::string key, title;
  double SchemeCost::*value;
  double unit;  ///< It is shown in multiples of this.
};
const std::vector<CostColumn>& cost_columns() {
  static const std::vector<CostColumn> all = {
      {"evaluations", "evaluations", &SchemeCost::evaluations, 1},
      {"sequential_evaluations", "sequential", &SchemeCost::calls, 1},
      {"flops", "GFLOP", &SchemeCost::flops, 1e9},
      {"seconds", "seconds", &SchemeCost::seconds, 1},
      {"peak_memory", "peak MiB", &SchemeCost::peak_memory, 1 << 20}};
  return all;
}

/// NaN where a scheme failed.
double cost_of(const SchemeResult& result, const CostColumn& column) {
  return result.failure.empty() ? result.cost.*column.value : std::nan("");
}

std::vector<std::string> header_of(const SchemeReport& report) {
  std::vector<std::string> header = {"scheme"};
  for (const auto& column : shown_columns(report)) header.push_back(column.title);
  for (const auto& column : cost_columns()) header.push_back(column.title);
  return header;
}

/// For programs; "" for NaN.
std::string exact(double value) { return std::isnan(value) ? "" : shown_number(value, "%.10g"); }

std::string csv_of(const SchemeReport& report) {
  const auto columns = columns_of(report);
  std::string csv = "scheme,images";
  for (const auto& column : columns) csv += "," + column.key + "," + column.key + "_margin";
  for (const auto& column : cost_columns()) csv += "," + column.key;
  csv += "\n";
  for (const auto& scheme : report.schemes) {
    csv += csv_field(scheme.scheme.name()) + "," + std::to_string(scheme.count);
    for (const auto& column : columns) {
      const Figure* figure = find(scheme, column.key);
      csv += "," + exact(figure ? figure->value : std::nan(""));
      csv += "," + exact(figure ? figure->margin : std::nan(""));
    }
    for (const auto& column : cost_columns()) csv += "," + exact(cost_of(scheme, column));
    csv += "\n";
  }
  return csv;
}

HtmlTable table_of(const SchemeReport& report) {
  const auto columns = shown_columns(report);
  const auto distance = main_distance(report);
  const auto best = distance ? pareto_front(report.schemes, distance->key) : std::vector<bool>();
  HtmlTable table{.header = header_of(report)};
  for (size_t i = 0; i < report.schemes.size(); ++i) {
    const SchemeResult& scheme = report.schemes[i];
    const bool front = i < best.size() && best[i];
    std::vector<HtmlCell> row = {{scheme.scheme.name() + (front ? " *" : "")}};
    for (const auto& column : columns) {
      const Figure* figure = find(scheme, column.key);
      row.push_back(figure ? HtmlCell{cell_text(scheme, *figure), figure->value}
                           : HtmlCell{"-", std::nan("")});
    }
    for (const auto& column : cost_columns()) {
      const double value = cost_of(scheme, column) / column.unit;
      row.push_back({shown_number(value), value});
    }
    table.rows.push_back(std::move(row));
  }
  table.caption =
      "\u00b1 is half of a 95% interval, in brackets stands the standard deviation over subsets. "
      "Costs are an image's. * no other scheme is both better and cheaper.";
  return table;
}

HtmlTable difference_table(const SchemeReport& report) {
  HtmlTable table{.header = {"scheme"}};
  for (const auto& scheme : report.schemes) {
    if (scheme.differences.empty()) continue;
    std::vector<HtmlCell> row = {{scheme.scheme.name()}};
    for (const auto& figure : scheme.differences) {
      if (table.rows.empty()) table.header.push_back(figure.title);
      row.push_back({shown_number(figure.value) + " \u00b1 " + shown_number(figure.margin, "%.2g"),
                     figure.value});
    }
    table.rows.push_back(std::move(row));
  }
  const auto first = std::find_if(report.schemes.begin(), report.schemes.end(),
                                  [](const auto& scheme) { return scheme.failure.empty(); });
  if (first != report.schemes.end())
    table.caption = "Less those of " + first->scheme.name() +
                    ", with the same seeds: \u00b1 is half of a 95% interval.";
  return table;
}

/// "cfg:scale=2,layers=mid" is "cfg:scale=*,layers=mid" at 2.
struct Scaled {
  std::string family;
  double scale;
};
std::optional<Scaled> scaled(const std::string& name) {
  static const std::regex pattern("scale=(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)");
  std::optional<Scaled> last;
  for (std::sregex_iterator match(name.begin(), name.end(), pattern), end; match != end; ++match)
    last = {name.substr(0, match->position(1)) + "*" +
                name.substr(match->position(1) + match->length(1)),
            std::strtod((*match)[1].str().c_str(), nullptr)};
  return last;
}

HtmlPoint point(double x, const Figure& figure, const std::string& label) {
  return {x, figure.value, figure.margin, label};
}

HtmlChart scale_chart(const SchemeReport& report, const Figure& distance) {
  HtmlChart chart{distance.title + " by scale", "scale", distance.title, {}};
  for (const auto& result : report.schemes) {
    const auto at = scaled(result.scheme.name());
    const Figure* figure = find(result, distance.key);
    if (!at || !figure) continue;
    auto series = std::find_if(chart.series.begin(), chart.series.end(),
                               [&](const HtmlSeries& s) { return s.name == at->family; });
    if (series == chart.series.end())
      series = chart.series.insert(series, HtmlSeries{at->family, {}, true});
    series->points.push_back(point(at->scale, *figure, result.scheme.name()));
  }
  for (auto& series : chart.series)
    std::sort(series.points.begin(), series.points.end(),
              [](const HtmlPoint& a, const HtmlPoint& b) { return a.x < b.x; });
  return chart;
}

HtmlChart cost_chart(const SchemeReport& report, const Figure& distance) {
  HtmlChart chart{distance.title + " by cost", "GFLOP an image", distance.title, {}};
  const auto best = pareto_front(report.schemes, distance.key);
  HtmlSeries front{"best at its price", {}, true}, others{"others", {}, false};
  for (size_t i = 0; i < report.schemes.size(); ++i) {
    const SchemeResult& result = report.schemes[i];
    if (const Figure* figure = find(result, distance.key))
      (best[i] ? front : others)
          .points.push_back(point(result.cost.flops / 1e9, *figure, result.scheme.name()));
  }
  std::sort(front.points.begin(), front.points.end(),
            [](const HtmlPoint& a, const HtmlPoint& b) { return a.x < b.x; });
  chart.series = {front};
  if (!others.points.empty()) chart.series.push_back(others);
  return chart;
}

std::vector<HtmlFigure> pictures_of(const SchemeReport& report) {
  std::vector<HtmlFigure> pictures;
  for (const auto& scheme : report.schemes)
    if (!scheme.pictures.empty())
      pictures.push_back(png_figure(report.folder / scheme.pictures, scheme.scheme.name()));
  return pictures;
}

/// "name CIFAR ResNet-56, input 32x32": lists and maps as a reader likes them.
std::string readable(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_structured()) return value.dump();
  std::string text;
  for (const auto& [key, item] : value.items()) {
    if (!text.empty()) text += item.is_object() ? "; " : ", ";
    text += (value.is_object() ? key + " " : "") + readable(item);
  }
  return text;
}

void add_list(HtmlPage& page, const std::string& title, const Json& json) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& [key, value] : json.items())
    if (const auto text = readable(value); !text.empty()) entries.emplace_back(key, text);
  if (entries.empty()) return;
  page.heading(title);
  page.list(entries);
}

/// Of a run that goes on, or was stopped; else "".
std::string unfinished(const SchemeReport& report) {
  const size_t done = report.schemes.size();
  if (done >= report.planned) return "";
  return "Unfinished: " + std::to_string(done) + " of " + std::to_string(report.planned) +
         " schemes are here. The same command goes on with the others.";
}

std::vector<std::string> notes_of(const SchemeReport& report) {
  std::vector<std::string> notes = report.notes;
  if (const auto note = unfinished(report); !note.empty()) notes.insert(notes.begin(), note);
  for (const auto& scheme : report.schemes)
    if (!scheme.failure.empty())
      notes.push_back(scheme.scheme.name() + " failed: " + scheme.failure);
  return notes;
}

std::string page_of(const SchemeReport& report) {
  HtmlPage page("Guidance schemes side by side");
  for (const auto& note : notes_of(report)) page.paragraph(note);
  page.table(table_of(report));
  if (const auto distance = main_distance(report)) {
    const HtmlChart by_scale = scale_chart(report, *distance);
    if (!by_scale.series.empty()) page.chart(by_scale);
    page.chart(cost_chart(report, *distance));
  }
  if (const auto differences = difference_table(report); !differences.rows.empty()) {
    page.heading("Differences");
    page.table(differences);
  }
  if (const auto pictures = pictures_of(report); !pictures.empty()) {
    page.heading("The same seeds, scheme by scheme");
    page.slider(pictures);
  }
  add_list(page, "Protocol", report.protocol);
  Json sites = Json::object();
  for (const auto& scheme : report.schemes) sites[scheme.scheme.name()] = scheme.sites;
  add_list(page, "Where each scheme acts", sites);
  return page.text();
}

}  // namespace

std::vector<bool> pareto_front(const std::vector<SchemeResult>& results, const std::string& key) {
  std::vector<bool> best(results.size(), false);
  for (size_t i = 0; i < results.size(); ++i) {
    const Figure* mine = find(results[i], key);
    if (!mine) continue;
    best[i] = std::none_of(results.begin(), results.end(), [&](const SchemeResult& other) {
      const Figure* theirs = find(other, key);
      return theirs && theirs->value <= mine->value && other.cost.flops <= results[i].cost.flops &&
             (theirs->value < mine->value || other.cost.flops < results[i].cost.flops);
    });
  }
  return best;
}

Json report_json(const SchemeReport& report) {
  Json schemes = Json::array();
  const auto distance = main_distance(report);
  const auto best = distance ? pareto_front(report.schemes, distance->key) : std::vector<bool>();
  for (size_t i = 0; i < report.schemes.size(); ++i) {
    const SchemeResult& result = report.schemes[i];
    Json entry = {{"scheme", result.scheme.name()},
                  {"guidance", result.scheme.guidance},
                  {"count", result.count}};
    entry.update(figures_json(result.figures));
    if (result.failure.empty())
      for (const auto& column : cost_columns()) entry[column.key] = cost_of(result, column);
    entry["differences"] = figures_json(result.differences);
    entry["pareto"] = i < best.size() && best[i];
    entry["sites"] = result.sites;
    if (!result.images.empty()) entry["images"] = result.images.string();
    if (!result.failure.empty()) entry["failure"] = result.failure;
    schemes.push_back(std::move(entry));
  }
  return {{"task", "schemes"},
          {"protocol", report.protocol},
          {"planned", report.planned},
          {"schemes", schemes},
          {"notes", report.notes}};
}

std::string report_table(const SchemeReport& report) {
  const auto columns = shown_columns(report);
  std::vector<std::vector<std::string>> rows = {header_of(report)};
  for (const auto& scheme : report.schemes) {
    rows.push_back({scheme.scheme.name()});
    for (const auto& column : columns) {
      const Figure* figure = find(scheme, column.key);
      rows.back().push_back(figure ? cell_text(scheme, *figure) : "-");
    }
    for (const auto& column : cost_columns())
      rows.back().push_back(shown_number(cost_of(scheme, column) / column.unit));
  }
  std::string text = table(rows);
  for (const auto& note : notes_of(report)) text += note + "\n";
  return text;
}

void write_report(const SchemeReport& report) {
  write_file(report.folder / "results.json", indented(report_json(report)) + "\n");
  write_file(report.folder / "results.csv", csv_of(report));
  write_file(report.folder / "index.html", page_of(report));
}

}  // namespace tiller
