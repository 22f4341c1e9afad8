#include "io/control_group.h"

#include <fstream>
#include <sstream>
#include <string>

namespace tiller {
namespace {

namespace fs = std::filesystem;

/// In a container the path may be the host's, of which only the mounted folder is seen.
double least_around(const fs::path& mounted, fs::path group,
                    const std::function<double(const fs::path&)>& limit_of) {
  double least = 0;
  for (group = group.relative_path().lexically_normal();; group = group.parent_path()) {
    const double limit = limit_of(mounted / group);
    if (limit > 0 && (least == 0 || limit < least)) least = limit;
    if (group.empty()) return least;
  }
}

bool lists(const std::string& controllers, const std::string& controller) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');)
    if (name == controller) return true;
  return false;
}

}  // namespace

std::optional<double> number_in(const fs::path& file) {
  std::ifstream in(file);
  double number = 0;
  return in >> number ? std::optional(number) : std::nullopt;
}

double least_limit(const ControlGroups& groups, const std::string& controller,
                   const std::function<double(const fs::path&)>& limit_of) {
  std::ifstream in(groups.own);
  // "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
  for (std::string number, controllers, path;
       std::getline(std::getline(std::getline(in, number, ':'), controllers, ':'), path);) {
    if (lists(controllers, controller))
      return least_around(groups.mounted / controllers, path, limit_of);
    if (controllers.empty())
      if (const double limit = least_around(groups.mounted, path, limit_of)) return limit;
  }
  return 0;
}

}  // namespace tiller
