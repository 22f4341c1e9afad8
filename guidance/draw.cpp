#include "guidance/draw.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "models/sent.h"

namespace tiller {

at::Generator step_generator(uint64_t seed, int step, uint32_t stream) {
  constexpr uint32_t spread = 2654435769;  // mt19937 reads the seed's low 32 bits
  return at::detail::createCPUGenerator(seed * 1000003 + step + stream * spread);
}

Tensor step_noise(const StepContext& step, uint32_t stream, at::IntArrayRef shape) {
  std::vector<Tensor> images;
  for (const uint64_t seed : step.seeds)
    images.push_back(
        at::randn(shape, step_generator(seed, step.step, stream), at::TensorOptions(at::kFloat)));
  return sent(at::stack(images), step.device);
}

}  // namespace tiller
