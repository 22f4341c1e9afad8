#include "tools/process_age.h"

#include <time.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

const Clock::time_point process_begun = Clock::now();

/// Seconds from the machine's start to this process's: the 22nd field of its state, proc(5). The
/// second one, in parentheses, is the program's name.
std::optional<double> start_of_process() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == text.npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  if (!(fields >> ticks)) return {};
  return ticks / double(::sysconf(_SC_CLK_TCK));
}

}  // namespace

double process_age() {
  timespec now{};
  const auto start = start_of_process();
  if (!start || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0)
    return std::chrono::duration<double>(Clock::now() - process_begun).count();
  return double(now.tv_sec) + double(now.tv_nsec) / 1e9 - *start;
}

}  // namespace tiller
