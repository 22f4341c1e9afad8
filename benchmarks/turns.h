#pragma once
/// The side of a comparison that Tiller plays: it works when its turn comes.
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "tools/memory_use.h"

namespace tiller {

/// Each time a number comes in, does the work that many times and writes a line: seconds each, peak
/// memory in bytes beyond what was held before, and the numbers that the work returns.
template <class Work>
void take_turns(const Work& work) {
  const c10::InferenceMode inference;
  for (int times = 0; std::cin >> times;) {
    reset_peak_memory();
    const int64_t held = peak_memory();
    const auto start = std::chrono::steady_clock::now();
    auto numbers = work();
    for (int i = 1; i < times; ++i) numbers = work();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.9f %ld", seconds.count() / times, peak_memory() - held);
    for (const double number : numbers) std::printf(" %.9g", number);
    std::printf("\n");
    std::fflush(stdout);
  }
}

inline at::ScalarType dtype_named(const std::string& name) {
  return name == "bfloat16" ? at::kBFloat16 : name == "float16" ? at::kHalf : at::kFloat;
}

}  // namespace tiller
