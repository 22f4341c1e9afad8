#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <initializer_list>

namespace tiller {

/// Whether results computed from these need gradients. Undefined tensors don't.
inline bool wants_gradients(std::initializer_list<at::Tensor> inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& tensor) {
           return tensor.defined() && tensor.requires_grad();
         });
}

}  // namespace tiller
