#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "io/error.h"
#include "io/image.h"
#include "io/local_processes.h"
#include "io/physical_memory.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

std::string gibibytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (int64_t{1} << 30));
  return text;
}

std::string described(at::IntArrayRef shape, double bytes) {
  return std::to_string(shape[0]) + " images of " + std::to_string(shape[2]) + "x" +
         std::to_string(shape[3]) + " take " + gibibytes(bytes);
}

std::string shared_by(int processes) {
  return processes > 1 ? " for its " + std::to_string(processes) + " processes" : "";
}

/// With its blocks on the disk: a mapping of less would end the process where the disk is full.
void reserve_file(const fs::path& file, off_t bytes, const std::string& what) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throw Error(file.string() + ": can't be written: " + std::strerror(errno) + ".");
  const int failure = ::posix_fallocate(descriptor, 0, bytes);
  ::close(descriptor);
  if (!failure) return;
  fs::remove(file);
  throw Error(file.string() + ": can't be written: " + std::strerror(failure) + ". " + what + ".");
}

}  // namespace

Tensor map_bytes(const fs::path& file, at::IntArrayRef shape) {
  const int64_t bytes = c10::multiply_integers(shape);
  std::error_code failure;
  const auto size = fs::file_size(file, failure);
  if (failure || size != uintmax_t(bytes))
    throw Error(file.string() + ": got " + (failure ? "nothing" : std::to_string(size) + " bytes") +
                ", expected " + std::to_string(bytes) + " bytes.");
  return at::from_file(file.string(), /*shared=*/true, bytes, at::kByte).view(shape);
}

Tensor allocate_bytes(const fs::path& path, at::IntArrayRef shape, const fs::path& file) {
  double needed = 1;
  for (const auto length : shape) needed *= static_cast<double>(length);
  if (!file.empty()) {
    reserve_file(file, off_t(std::min(needed, 0x1p62)),
                 path.string() + "'s " + described(shape, needed));
    return map_bytes(file, shape);
  }
  const int processes = local_processes();
  const double limit = 0.5 * physical_memory() / processes;
  if (needed > limit)
    throw Error(path.string() + ": " + described(shape, needed) + ", expected at most " +
                gibibytes(limit) + ", half of this machine's memory" + shared_by(processes) +
                ". Choose a smaller size or fewer images, or train with --data-cache" +
                (processes > 1 ? ", which holds them once." : "."));
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
