#pragma once
#include <functional>
#include <future>

namespace tiller {

/// Work on a thread of its own, a piece after the other: writing files while the next images are
/// computed.
class Behind {
 public:
  /// Begins once the piece before is done. Throws what that one threw.
  void run(std::function<void()> piece) {
    finish();
    piece_ = std::async(std::launch::async, std::move(piece));
  }
  /// Waits for the last piece. Throws what it threw.
  void finish() {
    if (piece_.valid()) piece_.get();
  }

 private:
  std::future<void> piece_;  ///< Its destructor waits.
};

}  // namespace tiller
