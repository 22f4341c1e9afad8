#include "samplers/pfgmpp.h"

#include <ATen/ATen.h>

namespace tiller {

Tensor pfgmpp_prior(const Tensor& noise, int64_t augmented, NoiseSource& source) {
  const Tensor drawn = source.draw(at::empty({noise.size(0), augmented}, noise.options()));
  std::vector<int64_t> shape(noise.dim(), 1);
  shape[0] = noise.size(0);
  const Tensor spread = drawn.to(at::kDouble).square().mean(1).sqrt().reshape(shape);
  return (noise.to(at::kDouble) / spread).to(noise.scalar_type());
}

}  // namespace tiller
