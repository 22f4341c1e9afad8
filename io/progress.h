#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace tiller {

/// Long work's progress on standard error: a bar with rate and time left on a terminal, a plain
/// line now and then elsewhere, nothing when quiet.
class Progress {
 public:
  /// total: 0 where it isn't known. unit: what is counted, "images" or "steps". start: what an
  /// earlier run had done.
  Progress(std::string label, int64_t total, std::string unit, int64_t start = 0);
  /// Counts and never shows.
  static Progress silent();
  ~Progress();
  /// Counts `amount` more; `note` stands behind the bar ("loss 0.031").
  void advance(int64_t amount = 1, const std::string& note = "");
  /// Shows at once what goes on meanwhile.
  void tell(const std::string& note);
  /// Ends the line, so that others may write.
  void finish();
  /// The same where all is done, though some of it wasn't counted.
  void complete();

  static void set_quiet(bool);

 private:
  struct State;
  explicit Progress(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

}  // namespace tiller
