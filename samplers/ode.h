#pragma once
#include <cmath>

#include "io/error.h"
#include "samplers/pfgmpp.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {

/// arXiv 2206.00364, algorithm 2, lines 4 and 5: the level that step i raises its noise to, one
/// that the network knows, as its authors' edm_sampler has it.
inline NoiseLevel churned(const Trajectory& trajectory, int i, const Churn& churn) {
  NoiseLevel level = trajectory.levels[i];
  if (churn.churn <= 0 || level.sigma < churn.from || level.sigma > churn.to) return level;
  const double growth = std::min(churn.churn / trajectory.steps(), std::sqrt(2.0) - 1);
  level.sigma = nearest_known(trajectory.known_sigmas, level.sigma * (1 + growth));
  level.timestep = trajectory.timestep_of(level.sigma);
  return level;
}

/// Line 6: brings x from one level up to another; draws only where they differ.
inline Tensor raise_noise(const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                          const Churn& churn, NoiseSource& noise) {
  if (to.sigma <= from.sigma) return x;
  const double added = std::sqrt(to.sigma * to.sigma - from.sigma * from.sigma);
  return x + added * churn.noise * Combination(noise.draw(x));
}

/// dx / dsigma of the probability flow ODE for alpha = 1 and for alpha = 1 - sigma, by way of the
/// sample: so a clipped one counts.
inline Combination slope(const Tensor& x, const Prediction& p, double sigma) {
  return (x - p.sample) / sigma;
}

/// An Euler step to `to`. Adding noise to the sample is exact where x + (to - sigma) * slope
/// cancels at large sigmas, and lets guidance choose the noise (CFG++).
inline Combination euler_step(const Tensor& x, const Prediction& p, double sigma,
                              const NoiseLevel& to) {
  if (p.renoise.defined()) return to.alpha * p.sample + to.sigma * p.renoise;
  return p.sample + to.sigma * slope(x, p, sigma);
}

/// Heun's step within step i, from x at sigma `from` to another level; p: x's prediction.
inline Tensor heun_step(const Denoiser& denoise, const Trajectory& trajectory,
                        const Observer& observer, int i, const Tensor& x, const Prediction& p,
                        double from, const NoiseLevel& to) {
  const Combination d = slope(x, p, from);
  Tensor euler = p.sample + to.sigma * d;
  if (to.sigma == 0) return euler;
  report_within(observer, trajectory, i, to, euler, p);
  const Combination d_next = slope(euler, denoise(euler, to), to.sigma);
  return x + (to.sigma - from) / 2 * (d + d_next);
}

/// A level within step i, on its scale: alpha = 1, or a flow's own.
inline NoiseLevel level_between(const Trajectory& trajectory, int i, double sigma) {
  const double alpha = trajectory.levels[i].alpha == 1 ? 1 : 1 - sigma;
  return {alpha, sigma, trajectory.timestep_of(sigma / alpha), i};
}

/// Throws UsageError where noise is to be added to a flow's levels, of which churn's rule says
/// nothing.
inline void require_churnable(const Trajectory& trajectory, const Churn& churn) {
  if (churn.churn > 0 && trajectory.levels.front().alpha != 1)
    throw UsageError("s_churn: got one for a model that is a flow, expected 0.");
}

/// Of the samplers on a flow's own levels.
inline Option shift_option() {
  return {"shift", "", "of a flow's sigmas; exp(mu) of a dynamic one; else the model's"};
}

/// Of samplers that step below the next level and add noise up to it.
inline std::vector<Option> ancestral_option_list() {
  return {{"eta", "1", "share of the noise, 0: none"},
          {"s_noise", "1", "scale of the noise"},
          shift_option()};
}

inline AncestralOptions ancestral_from(const Options& options) {
  return {options.number("eta", 0, 1), options.number("s_noise", 0)};
}

inline std::vector<Option> churn_options() {
  return {{"s_churn", "0", "noise added before steps, over the whole run"},
          {"s_tmin", "0", "no churn at sigmas below"},
          {"s_tmax", "1e30", "no churn at sigmas above"},
          {"s_noise", "1", "scale of the churn's noise"}};
}

/// Of Euler's and Heun's methods: churn, a flow's shift and PFGM++'s prior.
inline std::vector<Option> euler_options() {
  auto options = churn_options();
  options.push_back(shift_option());
  options.push_back({"pfgmpp", "0", "D of PFGM++'s prior, for its networks; 0: EDM's noise"});
  return options;
}

/// Where a run of Euler's or Heun's method begins: in PFGM++'s prior, where the options ask for it.
inline Tensor with_prior(const Tensor& x, const Trajectory& trajectory, const Options& options,
                         NoiseSource& noise) {
  const int augmented = bounded_integer(options, "pfgmpp", 0, 10'000'000);
  if (augmented == 0) return x;
  if (trajectory.levels.front().alpha != 1 || trajectory.skipped_steps > 0)
    throw UsageError("pfgmpp: got " + options.text("pfgmpp") +
                     " for a run that doesn't begin in EDM's noise, expected pfgmpp=0.");
  return pfgmpp_prior(x, augmented, noise);
}

inline Churn churn_from(const Options& options) {
  return {options.number("s_churn", 0), options.number("s_tmin", 0), options.number("s_tmax", 0),
          options.number("s_noise", 0), options.flag("strict")};
}

}  // namespace tiller
