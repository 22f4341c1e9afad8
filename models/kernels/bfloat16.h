#pragma once
#include <cstdint>

namespace tiller::kernels {

/// The upper half of a float's bits.
using BFloat16Bits = uint16_t;

}  // namespace tiller::kernels
