#include "training/autoencoder_loss.h"

#include <ATen/ATen.h>

#include <map>

namespace tiller {
namespace {

Tensor differences(const Tensor& x, int64_t dim) {
  const int64_t length = x.size(dim) - 1;
  return x.narrow(dim, 1, length) - x.narrow(dim, 0, length);
}

}  // namespace

Tensor reconstruction_losses(const Tensor& decoded, const Tensor& images) {
  const Tensor error = decoded - images;
  const auto mean_of = [](const Tensor& x) { return x.abs().flatten(1).mean(1); };
  return mean_of(error) + mean_of(differences(error, 2)) + mean_of(differences(error, 3));
}

Tensor kl_divergences(const LatentDistribution& latents) {
  const Tensor each = latents.mean.square() + latents.logvar.exp() - 1 - latents.logvar;
  return 0.5 * each.flatten(1).sum(1);
}

void normalise_latents(NamedTensors& parameters, const Tensor& latents) {
  const Tensor mean = latents.mean({0, 2, 3}), std = latents.std({0, 2, 3}, false).clamp_min(1e-6);
  const int64_t channels = mean.size(0);
  std::map<std::string, Tensor*> named;
  for (auto& [name, tensor] : parameters) named[name] = &tensor;
  Tensor &weight = *named.at("quant_conv.weight"), &bias = *named.at("quant_conv.bias"),
         &post_weight = *named.at("post_quant_conv.weight"),
         &post_bias = *named.at("post_quant_conv.bias");
  const Tensor scale = at::cat({1 / std, at::ones_like(std)});
  weight = weight * scale.view({-1, 1, 1, 1});
  bias = at::cat({(bias.narrow(0, 0, channels) - mean) / std,
                  bias.narrow(0, channels, channels) - 2 * std.log()});
  post_bias = post_bias + at::mv(post_weight.flatten(1), mean);
  post_weight = post_weight * std.view({1, -1, 1, 1});
}

}  // namespace tiller
