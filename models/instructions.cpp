#include "models/instructions.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tiller {

#if defined(__x86_64__)
namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// Zeros where the processor hasn't got the leaf.
Registers of_leaf_7(unsigned subleaf) {
  Registers r;
  __get_cpuid_count(7, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

}  // namespace

bool multiplies_bf16_tiles() { return of_leaf_7(0).edx >> 22 & 1; }

bool multiplies_bf16_pairs() { return of_leaf_7(1).eax >> 5 & 1; }

bool multiplies_halves() { return of_leaf_7(0).edx >> 23 & 1; }
#else
bool multiplies_bf16_tiles() { return false; }
bool multiplies_bf16_pairs() { return false; }
bool multiplies_halves() { return false; }
#endif

}  // namespace tiller
