#include "io/error.h"
#include "samplers/anderson.h"
#include "samplers/registry.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

enum class Acceleration { none, average, anderson };

struct FixedPoint {
  int iterations;
  Acceleration acceleration;
};

FixedPoint fixed_point_options(const Options& options) {
  const std::string name = options.choice("acceleration", {"none", "average", "anderson"});
  return {bounded_integer(options, "iterations", 1, 10'000), name == "none" ? Acceleration::none
                                                             : name == "average"
                                                                 ? Acceleration::average
                                                                 : Acceleration::anderson};
}

/// The latents from which DDIM's step leads to these: z = f(z), iterated from DDIM's inverse on.
Stepped solved_point(const InversionRun& run, const Tensor& latents, int level,
                     const FixedPoint& how) {
  Stepped now = ddim_up(run.denoise, run.trajectory, latents, level);
  AndersonMixing mixing(3);
  if (how.acceleration == Acceleration::anderson) mixing.next(latents, now.latents);
  for (int i = 1; i < how.iterations; ++i) {
    const Tensor guess = now.latents;
    now = ddim_corrected(run, guess, latents, level);
    if (how.acceleration == Acceleration::average) now.latents = (now.latents + guess) / 2;
    if (how.acceleration == Acceleration::anderson) now.latents = mixing.next(guess, now.latents);
  }
  return now;
}

InversionState fixed_point_ascend(const InversionRun& run, InversionState state, int until) {
  const FixedPoint how = fixed_point_options(run.options);
  return walk_up(run, state, until, [&](const Tensor& latents, int level) {
    return solved_point(run, latents, level, how);
  });
}

Sampler fixed_point(const std::string& name, const std::string& description,
                    const std::string& paper, const std::string& iterations,
                    const std::string& acceleration) {
  return {.name = name,
          .description = description,
          .paper = paper,
          .scheduler = "DDIMScheduler",
          .options = {{"iterations", iterations, "evaluations a step; 1 is DDIM's inversion"},
                      {"acceleration", acceleration,
                       "none, average (with the guess before) or anderson (of the last three)"},
                      {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .renoises = true,
          .run = generate_with_ddim_after<fixed_point_options>,
          .inverse = {.ascend = fixed_point_ascend, .descend = ddim_descend}};
}

}  // namespace

Sampler aidi_sampler() {
  return fixed_point("aidi",
                     "DDIM, inverted by accelerated fixed-point iteration of each step (AIDI)",
                     "2309.04907", "5", "anderson");
}

Sampler fpi_sampler() {
  return fixed_point("fpi", "DDIM, inverted by plain fixed-point iteration of each step",
                     "2312.12540", "20", "none");
}

}  // namespace tiller
