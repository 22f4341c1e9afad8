#include "training/refine_latent.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <numbers>

#include "training/adamw.h"

namespace tiller {
namespace {

constexpr double learning_rate = 0.02;

/// Without the search for overflows and the clamp that images get.
Tensor decoded(const Autoencoder& vae, const Tensor& latents) {
  if (const auto* tiny = std::get_if<AutoencoderTiny>(&vae.network)) return tiny->decode(latents);
  const auto& kl = std::get<AutoencoderKL>(vae.network);
  return kl.decode(unscale_latents(latents, kl.config())).to(at::kFloat);
}

/// (B): each image's own, so that images don't know of each other.
Tensor errors_of(const Tensor& images, const Tensor& expected) {
  return (images - expected).square().flatten(1).mean(1);
}

}  // namespace

Tensor refine_latent(const Autoencoder& planned, const Tensor& latents, const Tensor& images,
                     int steps, const std::function<void()>& after_step) {
  const Autoencoder& vae = planned.arrived();
  const Tensor expected = images.to(vae.device, at::kFloat);
  Tensor x = latents.to(vae.device, at::kFloat).clone(), best = x.clone(), least;
  x.set_requires_grad(true);
  AdamMoments moments = zero_moments({x});
  for (int step = 1; step <= steps + 1; ++step) {
    const Tensor errors = errors_of(decoded(vae, x), expected);
    const c10::NoGradGuard no_grad;
    const Tensor now = errors.detach();
    if (!least.defined()) least = now;
    best = at::where((now <= least).view({-1, 1, 1, 1}), x.detach(), best);
    least = at::minimum(now, least);
    if (step > steps) break;
    {
      const c10::AutoGradMode with_grad(true);
      errors.sum().backward();
    }
    const double share = double(step - 1) / steps;
    adamw_step({x}, moments, step,
               {.lr = learning_rate * (1 + std::cos(std::numbers::pi * share)) / 2});
    x.mutable_grad() = Tensor();
    if (after_step) after_step();
  }
  return best;
}

}  // namespace tiller
