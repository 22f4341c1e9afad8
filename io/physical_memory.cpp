#include "io/physical_memory.h"

#include <unistd.h>

#include <algorithm>

namespace tiller {
namespace {

double memory_limit_of(const std::filesystem::path& group) {
  const auto limit = number_in(group / "memory.max");
  return limit ? *limit : number_in(group / "memory.limit_in_bytes").value_or(0);
}

}  // namespace

double physical_memory(const ControlGroups& groups) {
  const double machine = double(::sysconf(_SC_PHYS_PAGES)) * double(::sysconf(_SC_PAGESIZE));
  const double limit = least_limit(groups, "memory", memory_limit_of);
  return limit > 0 ? std::min(machine, limit) : machine;
}

}  // namespace tiller
