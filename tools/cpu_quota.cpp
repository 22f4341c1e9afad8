#include "tools/cpu_quota.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace tiller {
namespace {

namespace fs = std::filesystem;

std::optional<double> number_in(const fs::path& file) {
  std::ifstream in(file);
  double number = 0;
  return in >> number ? std::optional(number) : std::nullopt;
}

/// Of one group, 0: unlimited. Version 2 has "QUOTA PERIOD" or "max PERIOD" in one file.
double group_quota(const fs::path& group) {
  double quota = 0, period = 0;
  if (std::ifstream in(group / "cpu.max"); in >> quota >> period && quota > 0 && period > 0)
    return quota / period;
  const auto old_quota = number_in(group / "cpu.cfs_quota_us");
  const auto old_period = number_in(group / "cpu.cfs_period_us");
  return old_quota > 0.0 && old_period > 0.0 ? *old_quota / *old_period : 0;
}

/// The smallest of a group's and of those around it. In a container the path may be the host's,
/// of which only the mounted folder is seen.
double smallest_quota(const fs::path& mounted, fs::path group) {
  double smallest = 0;
  for (group = group.relative_path().lexically_normal();; group = group.parent_path()) {
    const double quota = group_quota(mounted / group);
    if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
    if (group.empty()) return smallest;
  }
}

bool lists_cpu(const std::string& controllers) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');)
    if (name == "cpu") return true;
  return false;
}

}  // namespace

double cpu_quota(const fs::path& groups, const fs::path& own) {
  std::ifstream in(own);
  // "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
  for (std::string number, controllers, path;
       std::getline(std::getline(std::getline(in, number, ':'), controllers, ':'), path);) {
    if (lists_cpu(controllers)) return smallest_quota(groups / controllers, path);
    if (controllers.empty())
      if (const double quota = smallest_quota(groups, path)) return quota;
  }
  return 0;
}

void keep_to_cpu_quota() {
  if (std::getenv("OMP_NUM_THREADS")) return;
  const double quota = std::ceil(cpu_quota());
  if (quota >= 1 && quota < at::get_num_threads()) at::set_num_threads(int(quota));
}

}  // namespace tiller
