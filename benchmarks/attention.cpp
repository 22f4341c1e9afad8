/// Self-attention of random queries, keys and values whenever it is this side's turn (turns.h).
///
/// usage: bench_attention ROWS HEADS TOKENS WIDTH DTYPE DEVICE
#include "models/attention.h"

#include <ATen/ATen.h>

#include <array>

#include "benchmarks/turns.h"

namespace tiller {
namespace {

void run(int64_t rows, int64_t heads, int64_t tokens, int64_t width, at::ScalarType dtype,
         at::Device device) {
  const auto normal = [&] {
    return at::randn({rows, tokens, heads, width}).to(device, dtype).transpose(1, 2);
  };
  const Tensor q = normal(), k = normal(), v = normal();
  take_turns(device, [&] {
    attention(q, k, v);
    return std::array<double, 0>{};
  });
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  if (count < 7) {
    std::fputs("usage: bench_attention ROWS HEADS TOKENS WIDTH DTYPE DEVICE\n", stderr);
    return 2;
  }
  const auto number = [&](int i) { return std::stoll(arguments[i]); };
  tiller::run(number(1), number(2), number(3), number(4), tiller::dtype_named(arguments[5]),
              tiller::measured_device(arguments[6]));
}
