#include "io/physical_memory.h"

#include <unistd.h>

namespace tiller {

double physical_memory() {
  return double(::sysconf(_SC_PHYS_PAGES)) * double(::sysconf(_SC_PAGESIZE));
}

}  // namespace tiller
