#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

namespace tiller {

/// The operator `name`, "tiller::geglu", to be looked up once. Throws c10::Error where it isn't
/// registered.
template <class Signature>
c10::TypedOperatorHandle<Signature> operation(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

/// What an operator's optional argument takes of a tensor that may be undefined.
inline std::optional<at::Tensor> present(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

}  // namespace tiller
