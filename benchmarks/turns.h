#pragma once
/// The side of a comparison that Tiller plays: it works when its turn comes.
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "models/device.h"
#include "tools/memory_use.h"

namespace tiller {

/// As choose_device. Ends the program where a GPU would do without our kernels: the references in
/// their place would be measured.
inline at::Device measured_device(const std::string& name) {
  const at::Device device = choose_device(name);
  if (device.is_cpu() || cuda_kernels_problem().empty()) return device;
  std::fprintf(stderr, "--device: got '%s', expected our CUDA kernels there (%s).\n", name.c_str(),
               cuda_kernels_problem().c_str());
  std::exit(1);
}

/// Memory that a turn takes: the process's or, on a GPU, what LibTorch's allocator has given out
/// there, as torch.cuda.max_memory_allocated counts it.
inline void reset_peak_memory(at::Device device) {
  if (device.is_cpu()) return reset_peak_memory();
  c10::getDeviceAllocator(device.type())->resetPeakStats(device.index());
}

inline int64_t peak_memory(at::Device device) {
  if (device.is_cpu()) return peak_memory();
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.allocated_bytes[size_t(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

inline void wait_for(at::Device device) {
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

/// Each time a number comes in, does the work that many times and writes a line: seconds each, peak
/// memory in bytes beyond what was held before, and the numbers that the work returns. The work may
/// leave a GPU busy: a turn ends when that is done.
template <class Work>
void take_turns(at::Device device, const Work& work) {
  const c10::InferenceMode inference;
  keep_freed_memory();  // as the program does
  for (int times = 0; std::cin >> times;) {
    wait_for(device);
    reset_peak_memory(device);
    const int64_t held = peak_memory(device);
    const auto start = std::chrono::steady_clock::now();
    auto numbers = work();
    for (int i = 1; i < times; ++i) numbers = work();
    wait_for(device);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.9f %ld", seconds.count() / times, peak_memory(device) - held);
    for (const double number : numbers) std::printf(" %.9g", number);
    std::printf("\n");
    std::fflush(stdout);
  }
}

inline at::ScalarType dtype_named(const std::string& name) {
  return name == "bfloat16" ? at::kBFloat16 : name == "float16" ? at::kHalf : at::kFloat;
}

}  // namespace tiller
