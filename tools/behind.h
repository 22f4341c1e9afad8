#pragma once
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace tiller {

/// Work on a thread of its own, a piece after the other: writing files while the next images are
/// computed. The end waits for the last piece.
class Behind {
 public:
  /// Begins once the piece before is done. Throws what that one threw.
  void run(std::function<void()> piece);
  /// Waits for the last piece. Throws what it threw.
  void finish();

 private:
  void work(const std::stop_token&);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::packaged_task<void()> next_;
  std::future<void> piece_;
  std::jthread thread_;  ///< One for all pieces: LibTorch keeps cuDNN's plans by thread.
};

}  // namespace tiller
