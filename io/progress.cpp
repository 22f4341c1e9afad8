#include "io/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <utility>

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> quiet{false};

constexpr double bar_interval = 0.1, line_interval = 10;  // seconds between two prints

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string format(const char* pattern, double number) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, pattern, number);
  return buffer;
}

/// "3:07" or "1:02:03".
std::string clock_time(double duration) {
  const auto whole = static_cast<int64_t>(std::clamp(duration, 0.0, 3.6e8) + 0.5);
  char buffer[32];
  if (whole < 3600)
    std::snprintf(buffer, sizeof buffer, "%" PRId64 ":%02" PRId64, whole / 60, whole % 60);
  else
    std::snprintf(buffer, sizeof buffer, "%" PRId64 ":%02" PRId64 ":%02" PRId64, whole / 3600,
                  whole / 60 % 60, whole % 60);
  return buffer;
}

/// "12.3 images/s", or "4.1 s/images" where that reads better.
std::string rate(double per_second, const std::string& unit) {
  if (per_second >= 1 || per_second <= 0)
    return format(per_second < 100 ? "%.1f " : "%.0f ", per_second) + unit + "/s";
  return format("%.1f s/", 1 / per_second) +
         (unit.ends_with('s') ? unit.substr(0, unit.size() - 1) : unit);
}

size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

}  // namespace

struct Progress::State {
  std::string label, unit, note;
  int64_t total, start, done;
  bool terminal = ::isatty(STDERR_FILENO) == 1, silent = quiet, finished = false;
  Clock::time_point began = Clock::now(), printed = began;
  int64_t shown = -1;  // what `done` was when last printed

  /// "label 12/40 | 3.1 images/s | 0:09 left | note", the fraction done aside.
  std::string line() const {
    const double elapsed = seconds(Clock::now() - began);
    const double per_second = elapsed > 0 ? static_cast<double>(done - start) / elapsed : 0;
    std::string text = std::to_string(done) + (total > 0 ? "/" + std::to_string(total) : "");
    if (done > start) {
      text += " | " + rate(per_second, unit);
      text += done < total
                  ? " | " + clock_time(static_cast<double>(total - done) / per_second) + " left"
                  : " | " + clock_time(elapsed);
    }
    return note.empty() ? text : text + " | " + note;
  }

  double fraction() const {
    return total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0., 1.)
                     : 1;
  }

  void print_bar() const {
    constexpr int cells = 24;
    const auto full = static_cast<int>(fraction() * cells);
    std::string text =
        label + " [" + std::string(full, '#') + std::string(cells - full, '-') + "] " + line();
    text = text.substr(0, terminal_width() - 1);
    std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
    std::fflush(stderr);
  }

  void print() {
    printed = Clock::now();
    shown = done;
    if (terminal)
      print_bar();
    else
      std::fprintf(stderr, "%s %s\n", label.c_str(), line().c_str());
  }

  bool is_due() const {
    return seconds(Clock::now() - printed) >= (terminal ? bar_interval : line_interval);
  }
};

Progress::Progress(std::string label, int64_t total, std::string unit, int64_t start)
    : state_(std::make_unique<State>(State{.label = std::move(label),
                                           .unit = std::move(unit),
                                           .note = "",
                                           .total = total,
                                           .start = start,
                                           .done = start})) {
  if (!state_->silent) state_->print();
}

Progress::Progress(std::unique_ptr<State> state) : state_(std::move(state)) {}

Progress Progress::silent() {
  auto state = std::make_unique<State>(
      State{.label = "", .unit = "", .note = "", .total = 0, .start = 0, .done = 0});
  state->silent = true;
  return Progress(std::move(state));
}

Progress::~Progress() { finish(); }

void Progress::advance(int64_t amount, const std::string& note) {
  State& state = *state_;
  state.done += amount;
  state.note = note;
  if (!state.silent && !state.finished && state.is_due()) state.print();
}

void Progress::tell(const std::string& note) {
  state_->note = note;
  if (!state_->silent && !state_->finished) state_->print();
}

void Progress::complete() {
  state_->done = std::max(state_->done, state_->total);
  finish();
}

void Progress::finish() {
  State& state = *state_;
  if (std::exchange(state.finished, true) || state.silent) return;
  if (state.terminal || state.shown != state.done) state.print();
  if (state.terminal) std::fputc('\n', stderr);
}

void Progress::set_quiet(bool value) { quiet = value; }

}  // namespace tiller
