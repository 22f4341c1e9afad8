#include "samplers/inversion.h"

#include <ATen/ATen.h>

#include "samplers/lattice.h"

namespace tiller {

NoiseLevel end_level(const Trajectory& trajectory) {
  const NoiseLevel& last = trajectory.levels.back();
  NoiseLevel level = last.sigma > 0 ? last : trajectory.cleanest;
  level.step = last.step;
  return level;
}

Tensor float_latents(const Tensor& latents) {
  return at::isIntegralType(latents.scalar_type(), false) ? from_lattice(latents).to(at::kFloat)
                                                          : latents;
}

}  // namespace tiller
