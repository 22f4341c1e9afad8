#pragma once
#include <string>
#include <vector>

namespace tiller {

/// Names of class folders as a config.json can hold them: what isn't UTF-8 becomes
/// U+FFFD. tell: says so on standard error where there are such.
std::vector<std::string> utf8_names(const std::vector<std::string>& folders, bool tell = false);

}  // namespace tiller
