#include "tools/figures.h"

#include <algorithm>
#include <cmath>

namespace tiller {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr const char *infinite = "inf", *failure_key = "failure";

}  // namespace

double ImageFigures::at(const std::string& key) const {
  const auto found = values.find(key);
  return found == values.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

double aggregate(const MethodFigures& method, const FigureColumn& column) {
  double sum = 0, most = 0;
  size_t count = 0;
  for (const auto& image : method.images) {
    const double value = image.at(column.key);
    if (std::isnan(value)) continue;
    sum += value;
    most = std::max(most, value);
    ++count;
  }
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  return column.largest ? most : sum / double(count);
}

size_t failures(const MethodFigures& method) {
  return size_t(std::count_if(method.images.begin(), method.images.end(),
                              [](const auto& image) { return !image.failure.empty(); }));
}

Json to_json(const ImageFigures& figures) {
  Json json = Json::object();
  for (const auto& [key, value] : figures.values)
    if (!std::isnan(value)) json[key] = value == infinity ? Json(infinite) : Json(value);
  if (!figures.failure.empty()) json[failure_key] = figures.failure;
  return json;
}

ImageFigures figures_from(const Json& json) {
  ImageFigures figures;
  for (const auto& [key, value] : json.items()) {
    if (key == failure_key && value.is_string()) figures.failure = value.get<std::string>();
    if (value.is_number()) figures.values[key] = value.get<double>();
    if (value == infinite) figures.values[key] = infinity;
  }
  return figures;
}

}  // namespace tiller
