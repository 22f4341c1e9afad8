#pragma once
#include <ATen/core/Generator.h>

#include <cstdint>

namespace tiller {

/// A CPU generator that depends on its arguments alone: so a step can be repeated after a kill.
at::Generator step_generator(uint64_t seed, uint64_t purpose, uint64_t index);

/// Seeds LibTorch's own generators (dropout's) likewise.
void seed_dropout(uint64_t seed, uint64_t index);

}  // namespace tiller
