#pragma once
#include "io/file.h"

namespace tiller {

/// A file that comes beside the program: share/tiller/NAME of an installation, or share/NAME of the
/// sources that it was built from. `what` starts the message; `hint` ends it. Throws Error naming
/// both places when it is in neither.
fs::path find_shared_file(const fs::path& name, const std::string& what, const std::string& hint);

}  // namespace tiller
