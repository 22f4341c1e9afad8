#pragma once
#include <functional>

#include "io/pickle.h"
#include "io/tensor_file.h"

namespace tiller {

/// The bytes of the storage with this key; at least `size` of them.
using StorageReader = std::function<at::Storage(const std::string& key, uint64_t size)>;

/// Bytes of each storage that the document mentions, by key; as the legacy format needs them to
/// find its way.
std::map<std::string, uint64_t> storage_sizes(const pickle::Document&, const std::string& file);

/// The tensors of a state dict, opening a nested one. Throws Error when the document mentions a
/// global that no file of tensors needs, or a tensor that goes beyond its storage.
NamedTensors tensors_of(const pickle::Document&, const StorageReader&, const std::string& file);

}  // namespace tiller
