#include "models/residency.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

namespace tiller {

void move_to(const NamedTensors& parameters, at::Device device) {
  const c10::InferenceMode off(false);
  for (const auto& [name, tensor] : parameters)
    if (tensor.device() != device) tensor.set_data(tensor.to(device));
}

void release(const NamedTensors& parameters) {
  const c10::InferenceMode off(false);
  for (const auto& [name, tensor] : parameters)
    tensor.set_data(at::empty({0}, tensor.options().device(at::kCPU)));
}

}  // namespace tiller
