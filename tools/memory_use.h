#pragma once
#include <cstdint>

namespace tiller {

/// The most memory that this process has held since reset_peak_memory, in bytes; 0: not known.
int64_t peak_memory();
/// Gives back what was freed, too.
void reset_peak_memory();

/// From now on freed memory is kept for the next tensors, up to 1 GiB, rather than given back to
/// the system, which clears each page before it gives it out again.
void keep_freed_memory();

}  // namespace tiller
