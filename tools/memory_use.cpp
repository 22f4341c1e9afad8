#include "tools/memory_use.h"

#include <malloc.h>

#include <fstream>
#include <string>

namespace tiller {

int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;)
    if (int64_t kibibytes = 0; key == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  return 0;
}

void reset_peak_memory() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << 5;
}

void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 128 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace tiller
