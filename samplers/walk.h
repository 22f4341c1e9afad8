#pragma once
/// What the inversions over DDIM have in common: the walk through the levels, and DDIM's own steps.
#include "samplers/inversion.h"
#include "samplers/step.h"

namespace tiller {

/// Where a step led, and what it was made from.
struct Stepped {
  Tensor latents;
  Prediction prediction;
};
/// A step from levels[level] to its neighbour.
using LevelStep = std::function<Stepped(const Tensor& latents, int level)>;

/// Ascends by steps to the next noisier level, in float32 (float64 when the state is). Throws
/// UsageError where steps land beside the levels.
InversionState walk_up(const InversionRun&, const InversionState&, int until, const LevelStep&);
/// Descends by steps to the next cleaner level; observers may change what they lead to.
InversionState walk_down(const InversionRun&, const InversionState&, const LevelStep&);

/// Tells the observer of x at `level` on the way up, where what it changes doesn't count.
void report_ascending(const InversionRun&, int level, const Tensor& x, const Prediction&);
/// What the observer makes of integers on a lattice after `step`: others only where it changed
/// anything.
Tensor reported_on_lattice(const InversionRun&, int step, const NoiseLevel&, const Tensor& z,
                           const Prediction&);

/// Latents as int64 on the lattice.
Tensor on_lattice(const Tensor& latents);
/// Integers on the lattice as int32. Throws Error, naming the sampler, where they don't fit.
Tensor stored_lattice(const Tensor& z, const std::string& sampler);

/// Throws UsageError where steps land beside the levels (strict), which no inversion can follow.
void require_landings_on_levels(const Trajectory&);
/// Throws UsageError where the run begins at pure noise, whose alpha can't be divided by.
void require_signal_at_start(const Trajectory&);

/// Where DDIM leads to, arXiv 2010.02502, equation 12 at eta = 0.
inline Combination ddim_towards(const Prediction& p, const NoiseLevel& to) {
  return to.alpha * p.sample + to.sigma * noise_of(p);
}
/// DDIM's step to levels[level + 1].
Stepped ddim_down(const Denoiser&, const Trajectory&, const Tensor& latents, int level);
/// DDIM's step the other way, to levels[level - 1]; the network is told the timestep that this
/// leads to, as DDIMInverseScheduler does.
Stepped ddim_up(const Denoiser&, const Trajectory&, const Tensor& latents, int level);
/// How a guess of levels[level - 1] is bettered: moved by how far DDIM's step from it misses
/// `latents` at levels[level]. Where nothing is clipped this is the step back with the guess's
/// epsilon. One evaluation.
Stepped ddim_corrected(const InversionRun&, const Tensor& guess, const Tensor& latents, int level);

/// Inverse::descend of the methods that generate with DDIM.
InversionState ddim_descend(const InversionRun&, InversionState);
/// Sampler::run of the same.
Tensor generate_with_ddim(const Denoiser&, Tensor x, const Trajectory&, const Options&,
                          NoiseSource&, const Observer&);
/// The same once `read` has found the sampler's own options well.
template <auto read>
Tensor generate_with_ddim_after(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                                const Options& options, NoiseSource& noise,
                                const Observer& observer) {
  read(options);
  return generate_with_ddim(denoise, std::move(x), trajectory, options, noise, observer);
}

/// The prompt's or class's own prediction; where steering gives none, the guided one.
const Denoiser& unguided(const InversionRun&);

/// A level between those of a run, of the same kind as `like`; ratio: sigma / alpha, from 0.
NoiseLevel level_between(const Trajectory&, double ratio, const NoiseLevel& like);

}  // namespace tiller
