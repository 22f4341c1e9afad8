#include "tools/behind.h"

#include <utility>

namespace tiller {

void Behind::run(std::function<void()> piece) {
  finish();
  {
    const std::lock_guard lock(mutex_);
    next_ = std::packaged_task<void()>(std::move(piece));
    piece_ = next_.get_future();
  }
  if (!thread_.joinable())
    thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
  wake_.notify_one();
}

void Behind::finish() {
  if (piece_.valid()) piece_.get();
}

/// A piece that waits is done even after the stop.
void Behind::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [&] { return next_.valid(); })) {
    std::packaged_task<void()> piece = std::exchange(next_, {});
    lock.unlock();
    piece();
    piece = {};
    lock.lock();
  }
}

}  // namespace tiller
