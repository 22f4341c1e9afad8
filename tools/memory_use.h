#pragma once
#include <cstdint>

namespace tiller {

/// The most memory that this process has held since reset_peak_memory, in bytes; 0: not known.
int64_t peak_memory();
void reset_peak_memory();

}  // namespace tiller
