#include "tools/chosen_device.h"

#include <cstdio>

#include "io/processes.h"

namespace tiller {

at::Device chosen_device(const std::string& name) {
  const at::Device device = choose_device(name);
  static bool told = launch_from_environment().rank > 0;
  if (const std::string note = device_note(name, device); !note.empty() && !told) {
    std::fprintf(stderr, "%s\n", note.c_str());
    told = true;
  }
  return device;
}

}  // namespace tiller
