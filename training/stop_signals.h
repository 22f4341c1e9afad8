#pragma once
#include <atomic>
#include <csignal>
#include <ctime>

namespace tiller {

/// While it lives, SIGINT and SIGTERM only ask to stop; a SIGINT that comes later, from somebody
/// who doesn't want to wait, ends the process at once.
class StopSignals {
 public:
  StopSignals() : interrupt_(std::signal(SIGINT, ask)), terminate_(std::signal(SIGTERM, ask)) {
    asked_at_ = 0;
  }
  ~StopSignals() {
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }
  static bool asked() { return asked_at_ != 0; }

 private:
  /// Launchers and timeout(1) pass on what the whole process group gets: the two are one request.
  static constexpr std::time_t together = 1;

  static void ask(int signal) {
    const std::time_t now = std::time(nullptr);
    if (!asked_at_) asked_at_ = now;
    if (signal != SIGINT || now - asked_at_ <= together) return;
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  static inline std::atomic<std::time_t> asked_at_ = 0;  ///< 0: not yet.
  static_assert(std::atomic<std::time_t>::is_always_lock_free, "it is set in a signal's handler");
  void (*interrupt_)(int);
  void (*terminate_)(int);
};

}  // namespace tiller
