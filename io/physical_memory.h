#pragma once

namespace tiller {

/// Bytes of memory that this machine has.
double physical_memory();

}  // namespace tiller
