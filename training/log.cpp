#include "training/log.h"

#include <limits>
#include <sstream>

#include "io/error.h"
#include "io/json.h"

namespace tiller {
namespace {

std::string kept_lines(const fs::path& path, int64_t steps_done) {
  std::string kept;
  for_each_line(path, [&](const std::string& line, const nlohmann::ordered_json& json) {
    const auto step = json.find("step");
    const bool counted = step != json.end() && step->is_number_integer();
    if (!counted || step->get<int64_t>() <= steps_done) kept += line + "\n";
  });
  return kept;
}

}  // namespace

void for_each_line(
    const fs::path& log,
    const std::function<void(const std::string& line, const nlohmann::ordered_json&)>& use) {
  std::istringstream lines(fs::exists(log) ? read_file(log) : "");
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::ordered_json json = parse_json<nlohmann::ordered_json>(line);
    if (json.is_object()) use(line, json);
  }
}

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
  nlohmann::ordered_json json = {{"step", step}};
  for (const auto& [name, value] : scalars) json[name] = value;
  file_ << dumped(json) << std::endl;
}

bool has_number(const fs::path& log, int64_t step, const std::string& name) {
  bool found = false;
  for_each_line(log, [&](const std::string&, const nlohmann::ordered_json& json) {
    found |= json.contains("step") && json.contains(name) && json["step"] == step &&
             json[name].is_number();
  });
  return found;
}

double least_in(const fs::path& log, const std::string& name) {
  double least = std::numeric_limits<double>::infinity();
  for_each_line(log, [&](const std::string&, const nlohmann::ordered_json& json) {
    const auto found = json.find(name);
    if (found != json.end() && found->is_number()) least = std::min(least, found->get<double>());
  });
  return least;
}

}  // namespace tiller
