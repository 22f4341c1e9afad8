/// Sinkhorn attention, as ASAG has it, or its potentials alone, on random tokens whenever it is
/// this side's turn (turns.h).
///
/// usage: bench_sinkhorn TOKENS HEADS WIDTH DTYPE DEVICE [ITERATIONS [potentials]]
#include "guidance/sinkhorn.h"

#include <ATen/ATen.h>

#include <array>

#include "benchmarks/turns.h"

namespace tiller {
namespace {

void run(int64_t tokens, int64_t heads, int64_t width, at::ScalarType dtype, at::Device device,
         int64_t iterations, bool attends) {
  const auto normal = [&] { return at::randn({1, heads, tokens, width}).to(device, dtype); };
  const Tensor q = normal(), k = normal(), v = normal();
  take_turns(device, [&] {
    const Tensor g = sinkhorn_potentials(q, k, iterations);
    if (attends) sinkhorn_attention(q, k, v, g);
    return std::array<double, 0>{};
  });
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  if (count < 6) {
    std::fputs("usage: bench_sinkhorn TOKENS HEADS WIDTH DTYPE DEVICE [ITERATIONS [potentials]]\n",
               stderr);
    return 2;
  }
  const auto number = [&](int i) { return std::stoll(arguments[i]); };
  tiller::run(number(1), number(2), number(3), tiller::dtype_named(arguments[4]),
              tiller::measured_device(arguments[5]), count > 6 ? number(6) : 2, count <= 7);
}
