#include "io/shared_file.h"

#include "io/error.h"

namespace tiller {

fs::path find_shared_file(const fs::path& name, const std::string& what, const std::string& hint) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path places[] = {program.parent_path() / "share" / "tiller" / name,
                             fs::path(TILLER_SOURCE_DIR) / "share" / name};
  for (const auto& place : places)
    if (fs::is_regular_file(place, error)) return place;
  throw Error(what + ": got no " + places[0].string() + " and no " + places[1].string() +
              ", expected one. " + hint);
}

}  // namespace tiller
