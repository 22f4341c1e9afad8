#include "training/random.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

namespace tiller {
namespace {

/// splitmix64, by Sebastiano Vigna.
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t seed_of(uint64_t seed, uint64_t purpose, uint64_t index) {
  return mixed(mixed(mixed(seed) ^ purpose) ^ index);
}

}  // namespace

at::Generator step_generator(uint64_t seed, uint64_t purpose, uint64_t index, at::Device device) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed_of(seed, purpose, index));
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed_of(seed, purpose, index));
  return generator;
}

void seed_dropout(uint64_t seed, uint64_t index, uint64_t first) {
  at::manual_seed(seed_of(seed_of(seed, 3, index), 3, first));
}

}  // namespace tiller
