#pragma once
#include <cstdint>
#include <string>

namespace tiller {

/// Throws UsageError "KEY: got 1 channels, expected the 3 of WHOSE." where they differ. key: where
/// the config says it, "emoji.json: unet.in_channels".
void require_channels(const std::string& key, int64_t channels, int64_t expected,
                      const std::string& whose);

/// Throws UsageError where a network can't halve the size as often as it does. multiple: what its
/// sizes must be multiples of, as Network::size_multiple says.
void require_multiple(const std::string& key, int64_t size, int64_t multiple);

}  // namespace tiller
