#pragma once
#include "io/control_group.h"

namespace tiller {

/// Bytes of memory that this process may use: the machine's, or less where its control group (a
/// container's limit, as `docker run --memory` sets it) says so.
double physical_memory(const ControlGroups& = {});

}  // namespace tiller
