#pragma once
#include <filesystem>
#include <functional>
#include <optional>

namespace tiller {

/// Control groups, a container's among them, by cgroups of either version.
struct ControlGroups {
  std::filesystem::path mounted = "/sys/fs/cgroup";
  std::filesystem::path own = "/proc/self/cgroup";  ///< Says in which group this process is.
};

/// The least of what `limit_of` reads in the folders of this process's group and of those around
/// it; 0: none is limited. controller: as version 1 names it, such as "cpu". limit_of: 0: none.
double least_limit(const ControlGroups&, const std::string& controller,
                   const std::function<double(const std::filesystem::path& group)>& limit_of);

/// What a group's file begins with; none where that is no number ("max") or there is no file.
std::optional<double> number_in(const std::filesystem::path& file);

}  // namespace tiller
