#pragma once
/// EDM's networks with the weights that tests/reference/make_song.py gives them.
#include "models/edm_unet.h"
#include "tests/models/formula.h"

namespace tiller::test {

inline void fill_edm(const NamedTensors& tensors) {
  fill_by_formula(tensors);
  for (const auto& [name, tensor] : tensors)
    if (name == "map_noise.freqs") tensor.copy_(16 * formula_tensor(name, tensor.sizes()));
}

/// Fresh tensors of a config's network, filled.
inline NamedTensors edm_tensors(const Json& config) {
  Weights weights(0);
  const auto network = edm_unet(edm_config(config), weights);
  NamedTensors tensors = weights.finish();
  fill_edm(tensors);
  return tensors;
}

}  // namespace tiller::test
