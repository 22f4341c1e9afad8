#include <cmath>
#include <nlohmann/json.hpp>

#include "io/chart_script.h"
#include "io/html.h"

namespace tiller {
namespace {

using Json = nlohmann::ordered_json;

Json number_or_null(double number) { return std::isfinite(number) ? Json(number) : Json(nullptr); }

Json json_of(const HtmlSeries& series) {
  Json points = Json::array();
  for (const auto& point : series.points)
    points.push_back({{"x", number_or_null(point.x)},
                      {"y", number_or_null(point.y)},
                      {"margin", number_or_null(point.margin)},
                      {"label", point.label}});
  return {{"label", series.name}, {"data", points}, {"showLine", series.line}};
}

/// As it may stand in a script element.
std::string json_text(const HtmlChart& chart) {
  Json series = Json::array();
  for (const auto& each : chart.series) series.push_back(json_of(each));
  const Json json = {{"title", chart.title}, {"x", chart.x}, {"y", chart.y}, {"datasets", series}};
  std::string text;
  for (const char c : json.dump(-1, ' ', true, Json::error_handler_t::replace))
    text += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return text;
}

std::string shortened(double number) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", number);
  return std::isnan(number) ? "-" : buffer;
}

HtmlTable table_of(const HtmlChart& chart) {
  HtmlTable table{.header = {"series", chart.x, chart.y}, .rows = {}, .caption = chart.title};
  for (const auto& series : chart.series)
    for (const auto& point : series.points)
      table.rows.push_back(
          {{series.name}, {shortened(point.x), point.x}, {shortened(point.y), point.y}});
  return table;
}

}  // namespace

void HtmlPage::chart(const HtmlChart& chart) {
  if (!*chart_script()) return table(table_of(chart));
  charts_ = true;
  body_ += "<figure class=\"chart\"><canvas role=\"img\" aria-label=\"" +
           html_escaped(chart.title) + "\"></canvas><script type=\"application/json\">" +
           json_text(chart) + "</script></figure>\n";
}

void HtmlPage::slider(const std::vector<HtmlFigure>& choices) {
  if (choices.empty()) return;
  body_ += "<div class=\"slider\"><input type=\"range\" min=\"0\" max=\"" +
           std::to_string(choices.size() - 1) + "\" value=\"0\" aria-label=\"choose\">\n";
  figures(choices);
  body_ += "</div>\n";
}

}  // namespace tiller
