#include "io/local_processes.h"

#include <algorithm>
#include <cstdlib>
#include <string>

namespace tiller {
namespace {

constexpr long most_processes = 1 << 20;

/// Of "4" and of Slurm's "4(x2),3", several machines' numbers, the largest.
int largest_in(const std::string& list) {
  long largest = 1;
  for (size_t at = 0; at < list.size(); at = std::min(list.find(',', at), list.size() - 1) + 1)
    largest = std::max(largest, std::strtol(list.c_str() + at, nullptr, 10));
  return int(std::min(largest, most_processes));
}

}  // namespace

int local_processes() {
  for (const char* name : {"LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
                           "SLURM_STEP_TASKS_PER_NODE"})
    if (const char* value = std::getenv(name); value && *value) return largest_in(value);
  return 1;
}

}  // namespace tiller
