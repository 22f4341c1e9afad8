#include <ATen/ATen.h>

#include "samplers/lattice.h"
#include "samplers/registry.h"
#include "samplers/steered.h"

namespace tiller {
namespace {

/// DDIM's step from latents on the lattice, rounded to it.
Tensor rounded_step(const InversionRun& run, const Tensor& z, int level, Prediction& p) {
  p = run.denoise(float_latents(z), run.trajectory.levels[level]);
  const NoiseLevel& to = run.trajectory.levels[level + 1];
  return lattice_sum(p.sample, to.alpha, noise_of(p), to.sigma);
}

/// arXiv 2310.01506, algorithm 1: the record, (S, B, C, H, W), is by how much the guided steps miss
/// the path that the unguided inversion took.
InversionState direct_ascend(const InversionRun& run, InversionState state, int until) {
  std::vector<Tensor> path, record;
  ascend_unguided(run, state, until, &path);
  for (Tensor& x : path) x = on_lattice(x);
  path.front() = on_lattice(state.latents);
  Prediction p;
  for (int level = until; level < state.level; ++level) {
    const size_t at = size_t(state.level - level);
    record.push_back(
        stored_lattice(path[at - 1] - rounded_step(run, path[at], level, p), "direct"));
  }
  InversionState end{.level = until, .latents = stored_lattice(path.back(), "direct")};
  if (!record.empty()) end.record = at::stack(record);
  return end;
}

InversionState direct_descend(const InversionRun& run, InversionState state) {
  const int steps = run.trajectory.steps();
  Tensor z = on_lattice(state.latents);
  Prediction p;
  for (int level = state.level; level < steps; ++level) {
    z = rounded_step(run, z, level, p);
    if (state.record.defined()) {
      const int64_t index = level - (steps - state.record.size(0));
      if (index >= 0) z = z + state.record[index].to(at::kLong);
    }
    z = reported_on_lattice(run, level, run.trajectory.landing(level), z, p);
  }
  return {.level = steps, .latents = stored_lattice(z, "direct")};
}

}  // namespace

Sampler direct_sampler() {
  return {.name = "direct",
          .description =
              "DDIM, inverted without guidance; what each guided step misses is kept "
              "(direct inversion, PnP inversion)",
          .paper = "2310.01506",
          .scheduler = "DDIMScheduler",
          .options = {{"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .renoises = true,
          .run = generate_with_ddim,
          .inverse = {.exact = true,
                      .record_is_the_images = true,
                      .ascend = direct_ascend,
                      .descend = direct_descend}};
}

}  // namespace tiller
