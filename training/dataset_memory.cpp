#include <unistd.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include <ATen/Parallel.h>

#include "io/error.h"
#include "io/image.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

std::string gibibytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (int64_t{1} << 30));
  return text;
}

}  // namespace

Tensor allocate_images(const fs::path& path, int64_t count, int64_t size) {
  const double needed = 3.0 * size * size * count;
  const double limit = 0.5 * sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  if (needed > limit)
    throw Error(path.string() + ": " + std::to_string(count) + " images of " +
                std::to_string(size) + "x" + std::to_string(size) + " take " + gibibytes(needed) +
                ", expected at most " + gibibytes(limit) +
                ", half of this machine's memory. Choose a smaller size.");
  return at::empty({count, 3, size, size}, at::kByte);
}

Tensor fit_images(const fs::path& path, const Tensor& images, int64_t size) {
  const auto colored = images.expand({-1, 3, -1, -1});
  if (images.size(2) == size && images.size(3) == size) {
    if (images.size(1) == 3) return images;
    return allocate_images(path, images.size(0), size).copy_(colored);
  }
  auto fitted = allocate_images(path, images.size(0), size);
  for_each_in_parallel(images.size(0), [&](int64_t i) {
    fitted[i].copy_(resize_and_crop(colored[i].contiguous(), size));
  });
  return fitted;
}

void for_each_in_parallel(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (int64_t i; (i = next++) < count;) work(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  const int64_t threads = std::min<int64_t>(count, at::get_num_threads());
  std::vector<std::thread> workers;
  for (int64_t i = 1; i < threads; ++i) workers.emplace_back(run);
  run();
  for (auto& worker : workers) worker.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace tiller
