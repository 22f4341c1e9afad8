#pragma once
#include <string>
#include <vector>

namespace tiller {

/// Names of class folders as a config.json can hold them: each byte that isn't UTF-8 becomes
/// U+FFFD.
std::vector<std::string> utf8_names(const std::vector<std::string>& folders);

}  // namespace tiller
