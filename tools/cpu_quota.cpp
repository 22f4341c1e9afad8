#include "tools/cpu_quota.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

namespace tiller {
namespace {

namespace fs = std::filesystem;

/// Version 2 has "QUOTA PERIOD" or "max PERIOD" in one file.
double quota_of(const fs::path& group) {
  double quota = 0, period = 0;
  if (std::ifstream in(group / "cpu.max"); in >> quota >> period && quota > 0 && period > 0)
    return quota / period;
  const auto old_quota = number_in(group / "cpu.cfs_quota_us");
  const auto old_period = number_in(group / "cpu.cfs_period_us");
  return old_quota > 0.0 && old_period > 0.0 ? *old_quota / *old_period : 0;
}

}  // namespace

double cpu_quota(const ControlGroups& groups) { return least_limit(groups, "cpu", quota_of); }

void keep_to_cpu_quota() {
  if (std::getenv("OMP_NUM_THREADS")) return;
  const double quota = std::ceil(cpu_quota());
  if (quota >= 1 && quota < at::get_num_threads()) at::set_num_threads(int(quota));
}

}  // namespace tiller
