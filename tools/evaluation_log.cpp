#include "tools/evaluation_log.h"

#include <fstream>
#include <sstream>

#include "io/error.h"
#include "io/json.h"

namespace tiller {

EvaluationLog::EvaluationLog(fs::path path) : path_(std::move(path)) {
  if (!fs::exists(path_)) return;
  std::istringstream lines(read_file(path_));
  for (std::string line; std::getline(lines, line);) {
    const Json json = parse_json<Json>(line);
    if (json.is_object() && json.contains("key") && json["key"].is_string() &&
        json.contains("results"))
      results_[json["key"].get<std::string>()] = json["results"];
  }
}

const Json* EvaluationLog::find(const std::string& key) const {
  const auto found = results_.find(key);
  return found == results_.end() ? nullptr : &found->second;
}

void EvaluationLog::append(const std::string& key, const Json& results) {
  std::error_code error;
  if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), error);
  // Begins on a line of its own, whatever a kill left.
  const std::string line = "\n" + dumped(Json({{"key", key}, {"results", results}})) + "\n";
  std::ofstream file(path_, std::ios::binary | std::ios::app);
  file.write(line.data(), std::streamsize(line.size()));
  file.close();
  if (!file) throw Error(path_.string() + ": can't be written.");
  results_[key] = results;
}

}  // namespace tiller
