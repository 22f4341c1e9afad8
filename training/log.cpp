#include "training/log.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/error.h"

namespace tiller {
namespace {

using Json = nlohmann::ordered_json;

std::string kept_lines(const fs::path& path, int64_t steps_done) {
  std::string kept;
  std::istringstream lines(fs::exists(path) ? read_file(path) : "");
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.value("step", int64_t{0}) <= steps_done) kept += line + "\n";
  }
  return kept;
}

}  // namespace

TrainLog::TrainLog(const fs::path& path, int64_t steps_done) {
  write_file(path, kept_lines(path, steps_done));
  file_.open(path, std::ios::app);
  if (!file_) throw Error(path.string() + ": can't be written.");
}

std::vector<std::pair<std::string, double>> scalars_of(const LogLine& line) {
  return {{"loss", line.loss},
          {"gradient_norm", line.gradient_norm},
          {"learning_rate", line.learning_rate},
          {"images_per_second", line.images_per_second},
          {"seconds", line.seconds}};
}

void TrainLog::write(const LogLine& line) { write(line.step, scalars_of(line)); }

void TrainLog::write(int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  Json json = {{"step", step}};
  for (const auto& [name, value] : scalars) json[name] = value;
  file_ << json.dump() << std::endl;
}

double least_in(const fs::path& log, const std::string& name) {
  double least = std::numeric_limits<double>::infinity();
  std::istringstream lines(fs::exists(log) ? read_file(log) : "");
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains(name) && json[name].is_number())
      least = std::min(least, json[name].get<double>());
  }
  return least;
}

}  // namespace tiller
