#pragma once
/// What a GPU did while some work ran, by LibTorch's profiler (CUPTI).
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace tiller {

struct KernelTime {
  std::string name;
  int64_t launches = 0;
  double seconds = 0;
};

struct GpuTimes {
  std::vector<KernelTime> kernels;  ///< Copies and fills too; the longest first.
  double seconds = 0;               ///< From the first one's start to the last one's end.
  double idle = 0;                  ///< Of these, those in which none ran.
};

namespace detail {

struct Span {
  uint64_t begin, end;
};

inline uint64_t covered(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end(), [](Span a, Span b) { return a.begin < b.begin; });
  uint64_t sum = 0, reached = 0;
  for (const Span& span : spans) {
    if (span.end > reached) sum += span.end - std::max(span.begin, reached);
    reached = std::max(reached, span.end);
  }
  return sum;
}

}  // namespace detail

/// `work` must leave the GPU done.
inline GpuTimes gpu_times(const std::function<void()>& work) {
  using namespace torch::autograd::profiler;
  const ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<torch::profiler::impl::ActivityType> activities = {
      torch::profiler::impl::ActivityType::CUDA};
  prepareProfiler(config, activities);
  enableProfiler(config, activities);
  work();
  const auto result = disableProfiler();
  std::map<std::string, KernelTime> kernels;
  std::vector<detail::Span> spans;
  for (const KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA || event.durationNs() == 0) continue;
    spans.push_back({event.startNs(), event.startNs() + event.durationNs()});
    KernelTime& kernel = kernels[event.name()];
    ++kernel.launches;
    kernel.seconds += double(event.durationNs()) * 1e-9;
  }
  GpuTimes times;
  for (auto& [name, kernel] : kernels) {
    times.kernels.push_back(kernel);
    times.kernels.back().name = name;
  }
  std::sort(times.kernels.begin(), times.kernels.end(),
            [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  if (spans.empty()) return times;
  uint64_t first = spans.front().begin, last = 0;
  for (const auto& span : spans) {
    first = std::min(first, span.begin);
    last = std::max(last, span.end);
  }
  times.seconds = double(last - first) * 1e-9;
  times.idle = double(last - first - detail::covered(spans)) * 1e-9;
  return times;
}

inline void print(const GpuTimes& times) {
  std::printf("%.3f ms, idle %.2f%%\n", times.seconds * 1e3, 100 * times.idle / times.seconds);
  for (const KernelTime& kernel : times.kernels)
    std::printf("%6.2f%% %8.3f ms %5ld x %s\n", 100 * kernel.seconds / times.seconds,
                kernel.seconds * 1e3, long(kernel.launches), kernel.name.substr(0, 150).c_str());
  std::fflush(stdout);
}

}  // namespace tiller
