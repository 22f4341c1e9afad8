#include "io/gloo.h"

#ifdef TILLER_GLOO
#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace tiller {

#ifdef TILLER_GLOO

namespace {

/// The one that GLOO_SOCKET_IFNAME names, as in PyTorch; else the host name's.
std::shared_ptr<gloo::transport::Device> network_device() {
  if (const char* name = std::getenv("GLOO_SOCKET_IFNAME"); name && *name)
    return c10d::ProcessGroupGloo::createDeviceForInterface(name);
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

bool has_gloo() { return true; }

c10::intrusive_ptr<c10d::Backend> gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int world) {
  const auto options = c10d::ProcessGroupGloo::Options::create();
  options->devices.push_back(network_device());
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world, options);
}

#else

bool has_gloo() { return false; }

c10::intrusive_ptr<c10d::Backend> gloo_backend(const c10::intrusive_ptr<c10d::Store>&, int, int) {
  return {};
}

#endif

}  // namespace tiller
