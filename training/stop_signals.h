#pragma once
#include <csignal>

namespace tiller {

/// While it lives, SIGINT and SIGTERM only ask to stop.
class StopSignals {
 public:
  StopSignals() : interrupt_(std::signal(SIGINT, ask)), terminate_(std::signal(SIGTERM, ask)) {
    asked_ = 0;
  }
  ~StopSignals() {
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }
  static bool asked() { return asked_; }

 private:
  static void ask(int) { asked_ = 1; }
  static inline volatile std::sig_atomic_t asked_ = 0;
  void (*interrupt_)(int);
  void (*terminate_)(int);
};

}  // namespace tiller
