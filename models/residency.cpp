#include "models/residency.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

namespace tiller {

void move_to(const NamedTensors& parameters, at::Device device,
             std::optional<at::ScalarType> dtype) {
  const c10::InferenceMode off(false);
  for (const auto& [name, tensor] : parameters) {
    const at::ScalarType wanted = dtype.value_or(tensor.scalar_type());
    if (tensor.device() != device || tensor.scalar_type() != wanted)
      tensor.set_data(tensor.to(device, wanted));
  }
}

void release(const NamedTensors& parameters) {
  const c10::InferenceMode off(false);
  for (const auto& [name, tensor] : parameters)
    tensor.set_data(at::empty({0}, tensor.options().device(at::kCPU)));
}

}  // namespace tiller
