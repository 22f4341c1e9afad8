#include "tools/memory_use.h"

#include <fstream>
#include <string>

namespace tiller {

int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;)
    if (int64_t kibibytes = 0; key == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  return 0;
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }

}  // namespace tiller
