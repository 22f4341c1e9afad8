#include "training/network_fit.h"

#include "io/error.h"

namespace tiller {

void require_channels(const std::string& key, int64_t channels, int64_t expected,
                      const std::string& whose) {
  if (channels != expected)
    throw UsageError(key + ": got " + std::to_string(channels) + ", expected the " +
                     std::to_string(expected) + " channels of " + whose + ".");
}

void require_multiple(const std::string& key, int64_t size, int64_t multiple) {
  if (size % multiple)
    throw UsageError(key + ": got " + std::to_string(size) + ", expected a multiple of " +
                     std::to_string(multiple) + ", which the network can halve down to its end.");
}

}  // namespace tiller
