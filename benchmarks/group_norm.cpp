/// The fused GroupNorm beside the same out of LibTorch's operations, on the CPU: milliseconds of
/// processor time of each, the least of several alternating runs, and their ratio.
#include "models/group_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace tiller {
namespace {

struct Work {
  int rows, channels, size;
  at::ScalarType dtype;
  bool backward;
};

using Norm = decltype(group_norm);

/// What a residual block does between two convolutions, whose input is `x` and whose output must
/// have its dtype.
double milliseconds(Norm& norm, const Work& work) {
  const Tensor x = at::randn({work.rows, work.channels, work.size, work.size}, work.dtype)
                       .contiguous(at::MemoryFormat::ChannelsLast)
                       .requires_grad_(work.backward);
  const Tensor weight = at::ones({work.channels}).requires_grad_(work.backward);
  const Tensor bias = at::zeros({work.channels}).requires_grad_(work.backward);
  const Tensor modulation = at::randn({work.rows, 2 * work.channels}, work.dtype);
  const Tensor dy = at::randn_like(x);
  const std::clock_t start = std::clock();
  at::autocast::set_autocast_enabled(at::kCPU, work.dtype == at::kBFloat16);
  const Tensor y = norm(x, weight, bias, {32, 1e-5, true}, modulation).to(work.dtype);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  if (work.backward) y.backward(dy);
  return 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

void compare(const Work& work, int repeats) {
  double reference = 1e9, fused = 1e9;
  for (int i = 0; i < repeats; ++i) {
    reference = std::min(reference, milliseconds(group_norm_reference, work));
    fused = std::min(fused, milliseconds(group_norm, work));
  }
  std::printf("| %d x %d x %d x %d | %s | %s | %.2f | %.2f | %.1f |\n", work.rows, work.channels,
              work.size, work.size, toString(work.dtype),
              work.backward ? "forward and backward" : "forward", reference, fused,
              reference / fused);
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  const int repeats = count > 1 ? std::atoi(arguments[1]) : 20;
  std::printf("%d threads\n\n", at::get_num_threads());
  std::printf(
      "| input | dtype | | LibTorch, ms | fused, ms | ratio |\n|---|---|---|---|---|---|\n");
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const bool backward : {false, true})
      for (const auto& [rows, channels, size] :
           {std::array<int, 3>{64, 32, 32}, {64, 128, 8}, {2, 320, 64}, {1, 128, 256}})
        tiller::compare({rows, channels, size, dtype, backward}, repeats);
}
