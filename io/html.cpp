#include "io/html.h"

#include <ATen/ATen.h>
#include <openssl/evp.h>

#include <cmath>

#include "io/chart_script.h"
#include "io/image.h"

namespace tiller {
namespace {

/// Width that small images are enlarged to, at least.
constexpr int64_t wide_enough = 128;

constexpr const char* style = R"(
:root { color-scheme: light dark; --line: #ccc; --faint: #666; --shade: #f4f4f4; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --faint: #aaa; --shade: #222; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.caption { color: var(--faint); margin: 1rem 0 .3rem; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left; }
th { vertical-align: bottom; border-bottom-width: 2px; }
.number { text-align: right; white-space: nowrap; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \25B2"; }
th[aria-sort=descending] button::after { content: " \25BC"; }
pre { background: var(--shade); padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { color: var(--faint); font-size: .9rem; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; } .small { image-rendering: pixelated; }
.chart { position: relative; max-width: 56rem; height: 24rem; margin: 1rem 0; }
.slider input { width: min(100%, 40rem); } .slider figure[hidden] { display: none; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } .scroll { overflow: visible; }
  figure, tr { break-inside: avoid; } th button::after { content: none !important; } }
)";

/// Numbers sort by value, what is no number comes last; a second click turns the order round.
constexpr const char* script = R"(
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending", column = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => { const cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent : value === "" ? NaN : Number(value); };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number")
      return isNaN(a) ? (isNaN(b) ? 0 : 1) : isNaN(b) ? -1 : up ? a - b : b - a;
    const order = String(a).localeCompare(String(b), undefined, {numeric: true});
    return up ? order : -order; };
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
};
)";

/// Draws every chart's JSON on its canvas, with error bars; sliders show one figure at a time.
constexpr const char* chart_setup = R"(
const bars = {id: "bars", afterDatasetsDraw(chart) {
  const {ctx, scales: {y}} = chart;
  chart.data.datasets.forEach((set, i) => chart.getDatasetMeta(i).data.forEach((mark, k) => {
    const {y: value, margin} = set.data[k];
    if (!margin || !chart.isDatasetVisible(i)) return;
    ctx.save(); ctx.strokeStyle = set.borderColor; ctx.beginPath();
    ctx.moveTo(mark.x, y.getPixelForValue(value - margin));
    ctx.lineTo(mark.x, y.getPixelForValue(value + margin)); ctx.stroke(); ctx.restore(); })); }};
const colours = ["#1f77b4", "#d95f02", "#2a9d5c", "#c2185b", "#7b52ab", "#8c6d31", "#0097a7", "#777777"];
const marks = ["circle", "triangle", "rect", "star"];  // of the first eight, the next eight ...
const ink = getComputedStyle(document.body).color;
Chart.defaults.color = ink; Chart.defaults.font.size = 13; Chart.defaults.animation = false;
for (const canvas of document.querySelectorAll(".chart canvas")) {
  const {title, x, y, datasets} = JSON.parse(canvas.nextElementSibling.textContent);
  datasets.forEach((set, i) => Object.assign(set, {borderColor: colours[i % colours.length],
    backgroundColor: colours[i % colours.length], pointRadius: 4, borderWidth: 2,
    pointStyle: marks[Math.floor(i / colours.length) % marks.length]}));
  const ends = datasets.flatMap(set => set.data).filter(({y}) => y !== null)
    .flatMap(({y, margin}) => [y - margin, y + margin]);
  const axis = text => ({title: {display: true, text}, grid: {color: "#8884"}, ticks: {callback(...tick) {
    return tick[0] && Math.abs(tick[0]) < 1e-3 ? (+tick[0].toPrecision(6)).toExponential()
      : Chart.Ticks.formatters.numeric.apply(this, tick); }}});
  new Chart(canvas, {type: "scatter", data: {datasets}, plugins: [bars], options: {
    maintainAspectRatio: false, scales: {x: axis(x), y: {...axis(y), suggestedMin: Math.min(...ends),
      suggestedMax: Math.max(...ends)}},
    plugins: {title: {display: true, text: title, font: {size: 15}},
      legend: {labels: {usePointStyle: true}}, tooltip: {callbacks: {
      label: ({raw, dataset}) => `${raw.label || dataset.label}: ${+raw.x.toPrecision(4)}, ` +
        `${+raw.y.toPrecision(4)}` + (raw.margin ? ` \u00b1 ${+raw.margin.toPrecision(2)}` : "")}}}}});
}
)";

constexpr const char* slider_script = R"(
for (const slider of document.querySelectorAll(".slider")) {
  const figures = slider.querySelectorAll("figure"), input = slider.querySelector("input");
  (input.oninput = () => figures.forEach((figure, i) => { figure.hidden = i != input.value; }))();
}
)";

std::string base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

/// How many times a small image is enlarged.
int64_t enlargement(int64_t width) { return std::max<int64_t>(1, wide_enough / width); }

std::string image_tag(const Tensor& image, const std::string& description,
                      const std::string& png = "") {
  const int64_t factor = enlargement(image.size(2));
  const auto side = [&](int64_t dim) { return std::to_string(factor * image.size(dim)); };
  return std::string("<img ") + (factor > 1 ? "class=\"small\" " : "") + "width=\"" + side(2) +
         "\" height=\"" + side(1) + "\" alt=\"" + html_escaped(description) +
         "\" src=\"data:image/png;base64," + base64(png.empty() ? encode_png(image) : png) + "\">";
}

/// What a cell is sorted by; "" is no number.
std::string sort_value(double number) {
  if (std::isnan(number)) return "";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.17g", number);
  return buffer;
}

std::string cell_html(const HtmlCell& cell, const std::string& header) {
  if (cell.image.defined())
    return "<td>" + image_tag(cell.image, cell.text.empty() ? header : cell.text) + "</td>";
  if (!cell.number) return "<td>" + html_escaped(cell.text) + "</td>";
  return "<td class=\"number\" data-value=\"" + sort_value(*cell.number) + "\">" +
         html_escaped(cell.text) + "</td>";
}

/// Headers of numbers stand where the numbers do.
bool is_numeric(const HtmlTable& table, size_t column) {
  return !table.rows.empty() && column < table.rows.front().size() &&
         table.rows.front()[column].number.has_value();
}

std::string head_html(const HtmlTable& table) {
  std::string html = "<thead><tr>";
  for (size_t i = 0; i < table.header.size(); ++i) {
    const std::string text = html_escaped(table.header[i]);
    html += is_numeric(table, i) ? "<th scope=\"col\" class=\"number\">" : "<th scope=\"col\">";
    html += table.sortable ? "<button type=\"button\">" + text + "</button></th>" : text + "</th>";
  }
  return html + "</tr></thead>\n";
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '"')
      escaped += "&quot;";
    else if (c == '\'')
      escaped += "&#39;";
    else if ((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')
      escaped += c;
  }
  return escaped;
}

std::string name_of(const std::filesystem::path& path) {
  const auto full = std::filesystem::absolute(path).lexically_normal();
  return (full.has_filename() ? full : full.parent_path()).filename().string();
}

HtmlPage::HtmlPage(const std::string& title) : title_(html_escaped(title)) {}

void HtmlPage::heading(const std::string& text) {
  body_ += "<h2>" + html_escaped(text) + "</h2>\n";
}

void HtmlPage::paragraph(const std::string& text) {
  body_ += "<p>" + html_escaped(text) + "</p>\n";
}

void HtmlPage::code(const std::string& text) { body_ += "<pre>" + html_escaped(text) + "</pre>\n"; }

void HtmlPage::table(const HtmlTable& table) {
  if (!table.caption.empty())
    body_ += "<p class=\"caption\">" + html_escaped(table.caption) + "</p>\n";
  body_ += "<div class=\"scroll\"><table>\n";
  body_ += head_html(table) + "<tbody>\n";
  for (const auto& row : table.rows) {
    body_ += "<tr>";
    for (size_t i = 0; i < row.size(); ++i)
      body_ += cell_html(row[i], i < table.header.size() ? table.header[i] : "");
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
}

HtmlFigure png_figure(const std::filesystem::path& path, const std::string& caption) {
  std::string bytes = read_file(path);
  const Tensor image = decode_image(bytes, path.string());
  return {image, caption, std::move(bytes)};
}

void HtmlPage::figures(const std::vector<HtmlFigure>& figures) {
  body_ += "<div class=\"figures\">\n";
  for (const auto& figure : figures)
    body_ += "<figure>" + image_tag(figure.image, figure.caption, figure.png) + "<figcaption>" +
             html_escaped(figure.caption) + "</figcaption></figure>\n";
  body_ += "</div>\n";
}

void HtmlPage::list(const std::vector<std::pair<std::string, std::string>>& entries) {
  body_ += "<dl>\n";
  for (const auto& [name, value] : entries)
    body_ += "<dt>" + html_escaped(name) + "</dt><dd>" + html_escaped(value) + "</dd>\n";
  body_ += "</dl>\n";
}

std::string HtmlPage::text() const {
  const std::string charts = charts_ ? "<script>" + std::string(chart_script()) +
                                           "</script>\n<script>" + chart_setup + "</script>\n"
                                     : "";
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src "
         "data:; "
         "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>" +
         title_ + "</title>\n<style>" + style + "</style>\n</head>\n<body>\n<h1>" + title_ +
         "</h1>\n" + body_ + charts + "<script>" + script + slider_script +
         "</script>\n</body>\n</html>\n";
}

}  // namespace tiller
