#include "tools/memory_use.h"
#include "tools/program.h"

int main(int argc, char** argv) {
  tiller::keep_freed_memory();
  return tiller::run_program({argv + 1, argv + argc});
}
