#pragma once
#include "io/control_group.h"

namespace tiller {

/// CPUs that this process's control group may use at a time (a container's limit, as `docker run
/// --cpus` sets it); 0: as many as the machine has.
double cpu_quota(const ControlGroups& = {});

/// From now on LibTorch uses at most so many threads: by itself it counts the machine's, and more
/// threads than a container may use wait for each other. Where OMP_NUM_THREADS is set, that holds.
void keep_to_cpu_quota();

}  // namespace tiller
