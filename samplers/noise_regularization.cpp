#include "samplers/noise_regularization.h"

#include <c10/core/GradMode.h>

#include "io/error.h"

namespace tiller {
namespace {

/// Of the authors' latents, 64x64. Correlations are means, whose slopes shrink with the size.
constexpr double usual_size = 4096;

template <class Loss>
Tensor gradient(const Tensor& x, const Loss& loss) {
  const c10::AutoGradMode with_grad(true);
  Tensor leaf = x.detach().clone();
  leaf.set_requires_grad(true);
  loss(leaf).backward();
  return leaf.grad();
}

int64_t drawn_shift(int64_t height, const at::Generator& generator) {
  return at::randint(height / 2, {1}, generator, at::TensorOptions(at::kLong)).item<int64_t>();
}

/// The sizes go down to a height of 8, and no further than a width of 1.
bool is_smallest(int64_t height, int64_t width) { return height <= 8 || width < 2; }

/// Of one channel (B, H, W): squared correlation with itself, shifted, at sizes down to 8.
Tensor autocorrelation(Tensor channel, const at::Generator& generator) {
  Tensor sum = at::zeros({}, channel.options());
  while (true) {
    const int64_t shift = drawn_shift(channel.size(1), generator);
    for (const int64_t side : {1, 2})
      sum = sum + (channel * channel.roll(shift, side)).mean({1, 2}).square().sum();
    if (is_smallest(channel.size(1), channel.size(2))) return sum;
    channel = at::avg_pool2d(channel, 2);
  }
}

Tensor autocorrelation_of_all(const Tensor& x, const at::Generator& generator) {
  Tensor sum = at::zeros({}, x.options());
  for (const Tensor& channel : x.unbind(1)) sum = sum + autocorrelation(channel, generator);
  return sum;
}

struct Moments {
  Tensor mean, variance;
};

/// Of patches of 4x4.
Moments patch_moments(const Tensor& x) {
  const Tensor patches = x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4);
  return {patches.mean(-1), patches.var(-1)};
}

Tensor patch_divergence(const Tensor& x, const Moments& like) {
  constexpr double tiny = 1e-6;
  const Moments own = patch_moments(x);
  const Tensor ratio = (own.variance + (own.mean - like.mean).square()) / (like.variance + tiny);
  return (((like.variance + tiny) / (own.variance + tiny)).log() + ratio - 1).abs().sum();
}

}  // namespace

Tensor regularized(Tensor epsilon, const Tensor& like, const NoiseRegularization& how,
                   at::Generator generator) {
  if (how.steps == 0) return epsilon;
  if (epsilon.size(2) < 4 || epsilon.size(3) < 4)
    throw UsageError("regularize: got latents of " + std::to_string(epsilon.size(3)) + "x" +
                     std::to_string(epsilon.size(2)) + ", expected 4x4 or more. Use regularize=0.");
  const Moments target = patch_moments(like);
  for (int step = 0; step < how.steps; ++step) {
    if (how.divergence > 0) {
      const Tensor slope =
          gradient(epsilon, [&](const Tensor& x) { return patch_divergence(x, target); });
      epsilon = epsilon - how.divergence * slope.clamp(-100, 100);
    }
    if (how.correlation == 0) continue;
    const double rate = how.correlation / how.rolls * double(epsilon[0][0].numel()) / usual_size;
    for (int roll = 0; roll < how.rolls; ++roll) {
      const Tensor slope =
          gradient(epsilon, [&](const Tensor& x) { return autocorrelation_of_all(x, generator); });
      epsilon = epsilon - rate * slope;
    }
  }
  return epsilon;
}

void skip_regularized(at::IntArrayRef sizes, const NoiseRegularization& how,
                      const at::Generator& generator) {
  if (how.correlation == 0) return;
  for (int64_t channel = 0; channel < how.steps * how.rolls * sizes[1]; ++channel)
    for (int64_t height = sizes[2], width = sizes[3];; height /= 2, width /= 2) {
      drawn_shift(height, generator);
      if (is_smallest(height, width)) break;
    }
}

}  // namespace tiller
