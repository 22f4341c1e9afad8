#include "tools/chosen_device.h"

#include <cstdio>

namespace tiller {

at::Device chosen_device(const std::string& name) {
  const at::Device device = choose_device(name);
  if (const std::string note = device_note(name, device); !note.empty())
    std::fprintf(stderr, "%s\n", note.c_str());
  return device;
}

}  // namespace tiller
