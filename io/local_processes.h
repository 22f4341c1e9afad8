#pragma once

namespace tiller {

/// How many of the processes that a launcher started are on this machine, from what torchrun
/// (LOCAL_WORLD_SIZE), Open MPI, MPICH or srun (SLURM_STEP_TASKS_PER_NODE) say; 1 where none does.
int local_processes();

}  // namespace tiller
