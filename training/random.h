#pragma once
#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>

namespace tiller {

/// A generator that depends on its arguments alone: so a step can be repeated after a kill. On a
/// GPU it is LibTorch's own generator, seeded anew.
at::Generator step_generator(uint64_t seed, uint64_t purpose, uint64_t index,
                             at::Device device = at::kCPU);

/// Seeds LibTorch's own generators (dropout's) likewise. first: of the rows that are at hand.
void seed_dropout(uint64_t seed, uint64_t index, uint64_t first = 0);

}  // namespace tiller
