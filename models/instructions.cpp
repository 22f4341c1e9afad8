#include "models/instructions.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tiller {

#if defined(__x86_64__)
bool multiplies_bf16_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 22 & 1);
}

bool multiplies_bf16_pairs() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 5 & 1);
}
#else
bool multiplies_bf16_tiles() { return false; }
bool multiplies_bf16_pairs() { return false; }
#endif

}  // namespace tiller
