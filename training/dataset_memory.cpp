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

Tensor allocate_bytes(const fs::path& path, at::IntArrayRef shape) {
  double needed = 1;
  for (const auto length : shape) needed *= static_cast<double>(length);
  const double limit = 0.5 * sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  if (needed > limit)
    throw Error(path.string() + ": " + std::to_string(shape[0]) + " images of " +
                std::to_string(shape[2]) + "x" + std::to_string(shape[3]) + " take " +
                gibibytes(needed) + ", expected at most " + gibibytes(limit) +
                ", half of this machine's memory. Choose a smaller size or fewer images.");
  return at::empty(shape, at::kByte);
}

Tensor fit_images(const fs::path& path, const Tensor& images, int64_t size) {
  const std::vector<int64_t> shape = {images.size(0), 3, size, size};
  const auto colored = images.expand({-1, 3, -1, -1});
  if (images.size(2) == size && images.size(3) == size) {
    if (images.size(1) == 3) return images;
    return allocate_bytes(path, shape).copy_(colored);
  }
  auto fitted = allocate_bytes(path, shape);
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
