#pragma once
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/file.h"

namespace tiller {

/// What a line of the training log says.
struct LogLine {
  int64_t step = 0;
  double loss = 0;  ///< Mean over the steps since the last line.
  double gradient_norm = 0, learning_rate = 0, images_per_second = 0, seconds = 0;
};

/// Its numbers but for the step, by their names in the log.
std::vector<std::pair<std::string, double>> scalars_of(const LogLine&);

/// A JSON-lines file. Opening it for a run that resumes drops lines of steps that will be repeated.
class TrainLog {
 public:
  TrainLog(const fs::path&, int64_t steps_done);
  void write(const LogLine&);
  void write(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  std::ofstream file_;
};

/// Calls `use` with every line of a log and what it says; lines that are cut off count for nothing.
void for_each_line(
    const fs::path& log,
    const std::function<void(const std::string& line, const nlohmann::ordered_json&)>& use);

/// Whether a line of that step in a log has a number of that name.
bool has_number(const fs::path& log, int64_t step, const std::string& name);

/// The least number of that name in a log; infinite: none is there.
double least_in(const fs::path& log, const std::string& name);

}  // namespace tiller
