#include <ATen/CPUGeneratorImpl.h>

#include "samplers/noise_regularization.h"
#include "samplers/registry.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

/// Of one step: guesses 0 to `last`, of which those from `first` on are averaged.
struct Averaging {
  int last, first;
};

struct ReNoise {
  Averaging usual, early;
  double early_below;  ///< Timesteps that count as early.
  NoiseRegularization regularization;
};

Averaging read_averaging(const Options& options, const std::string& prefix) {
  const int last = bounded_integer(options, prefix + "iterations", 0, 1000);
  return {last, bounded_integer(options, prefix + "average_from", 0, last)};
}

ReNoise renoise_options(const Options& options) {
  return {read_averaging(options, ""),
          read_averaging(options, "early_"),
          options.number("early", 0, 1e6),
          {.steps = bounded_integer(options, "regularize", 0, 1000),
           .rolls = bounded_integer(options, "rolls", 1, 1000),
           .divergence = options.number("divergence", 0, 1e6),
           .correlation = options.number("correlation", 0, 1e6)}};
}

/// What epsilons are regularized towards, the same for all images and batches: the authors' seed.
at::Generator seeded() { return at::make_generator<at::CPUGeneratorImpl>(7865); }

/// arXiv 2403.14602, algorithm 1, of one run.
class Renoising {
 public:
  /// image: x_0, (B, C, H, W).
  Renoising(const InversionRun& run, const Tensor& image, const ReNoise& how)
      : run_(run), how_(how), image_(image), generator_(seeded()) {
    noise_ = at::randn({1, image.size(1), image.size(2), image.size(3)}, generator_,
                       at::TensorOptions(at::kFloat))
                 .to(image.options());
  }

  /// An average of steps back is the step back with the average epsilon.
  Stepped step(const Tensor& latents, int level) {
    const NoiseLevel& to = run_.trajectory.levels[level - 1];
    const Averaging& averaging = to.timestep < how_.early_below ? how_.early : how_.usual;
    const Tensor like = like_noise(to);
    Stepped guess = ddim_up(run_.denoise, run_.trajectory, latents, level);
    Tensor sum;
    for (int i = 0;; ++i) {
      if (i >= averaging.first) sum = sum.defined() ? sum + guess.latents : guess.latents;
      if (i == averaging.last) break;
      if (i >= averaging.first) guess.latents = regular(guess.latents, latents, like, level);
      guess = ddim_corrected(run_, guess.latents, latents, level);
    }
    skip_unused(latents, to.timestep < how_.early_below);
    const Tensor average = sum / (averaging.last - averaging.first + 1);
    return {regular(average, latents, like, level), guess.prediction};
  }

 private:
  /// The authors' code also regularizes a step's last epsilon, and below the early timestep that of
  /// one evaluation more, neither of which it uses: the same numbers come for the next one.
  void skip_unused(const Tensor& latents, bool early) {
    for (int i = 0; i < (early ? 2 : 1); ++i)
      skip_regularized(latents.sizes(), how_.regularization, generator_);
  }

  /// What the network makes of the image with true noise.
  Tensor like_noise(const NoiseLevel& level) {
    if (how_.regularization.steps == 0) return {};
    return noise_of(run_.denoise(level.alpha * image_ + level.sigma * noise_, level));
  }

  /// The step back from `latents` that led to `guess`, with its epsilon regularized.
  Tensor regular(const Tensor& guess, const Tensor& latents, const Tensor& like, int level) {
    const NoiseLevel &from = run_.trajectory.levels[level], &to = run_.trajectory.levels[level - 1];
    const double scale = to.alpha / from.alpha, part = to.sigma - from.sigma * scale;
    if (how_.regularization.steps == 0 || part == 0) return guess;
    const Tensor epsilon = (guess - scale * latents) / part;
    return scale * latents + part * regularized(epsilon, like, how_.regularization, generator_);
  }

  const InversionRun& run_;
  const ReNoise& how_;
  Tensor image_, noise_;
  at::Generator generator_;
};

InversionState renoise_ascend(const InversionRun& run, InversionState state, int until) {
  const ReNoise how = renoise_options(run.options);
  Renoising renoising(run, as_state(float_latents(state.latents)), how);
  return walk_up(run, state, until,
                 [&](const Tensor& latents, int level) { return renoising.step(latents, level); });
}

}  // namespace

Sampler renoise_sampler() {
  return {
      .name = "renoise",
      .description = "DDIM, inverted by noising each step anew and averaging (ReNoise)",
      .paper = "2403.14602",
      .scheduler = "DDIMScheduler",
      .options = {{"iterations", "9", "renoising iterations a step, one evaluation more"},
                  {"average_from", "8", "the first of them that the average takes, to the last"},
                  {"early", "250", "below this timestep the early_ options count instead"},
                  {"early_iterations", "4", "as iterations"},
                  {"early_average_from", "0", "as average_from"},
                  {"regularize", "4", "steps that make each epsilon more like noise; 0: none"},
                  {"rolls", "5", "random shifts in each of them, for autocorrelation"},
                  {"divergence", "0.065", "its rate against divergence of patches of 4x4"},
                  {"correlation", "20", "its rate against autocorrelation"},
                  {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
      .trajectory = table_trajectory,
      .renoises = true,
      .run = generate_with_ddim_after<renoise_options>,
      .inverse = {.ascend = renoise_ascend, .descend = ddim_descend}};
}

}  // namespace tiller
