#include "tools/cpu_quota.h"
#include "tools/memory_use.h"
#include "tools/program.h"

int main(int argc, char** argv) {
  tiller::keep_freed_memory();
  tiller::keep_to_cpu_quota();
  return tiller::run_program({argv + 1, argv + argc});
}
