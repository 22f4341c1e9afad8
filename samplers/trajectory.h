#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/prediction.h"
#include "samplers/sigmas.h"
#include "samplers/spacing.h"

namespace tiller {

/// The noise levels that a run passes through.
struct Trajectory {
  std::vector<NoiseLevel> levels;  ///< N + 1, the noisiest first; the last is where the run ends.
  double initial_scale = 1;        ///< What unit noise is multiplied with to start at levels[0].
  /// The network's timestep at any sigma / alpha, for evaluations between levels.
  std::function<double(double sigma)> timestep_of;
  /// Not empty: the network knows these sigma / alpha alone, and churn goes to one of them.
  std::vector<double> known_sigmas = {};
  /// The variance preserving level at a timestep of the network; empty without a model's table.
  std::function<NoiseLevel(double timestep)> level_at;
  /// Where each step lands, for schedulers in which this is not the next level; empty: the next
  /// level.
  std::vector<NoiseLevel> landings;
  /// Steps left out at the start (from_strength): solvers that lower their order in short runs
  /// count them, as diffusers does.
  int skipped_steps = 0;
  std::vector<NoiseLevel> left_out = {};  ///< Levels of these steps.
  NoiseLevel cleanest;       ///< Of those with noise that the network knows (custom: that occur).
  double highest_sigma = 0;  ///< sigma / alpha where the first of these began, 0: none left out.

  int steps() const { return static_cast<int>(levels.size()) - 1; }
  const NoiseLevel& landing(int step) const {
    return landings.empty() ? levels[step + 1] : landings[step];
  }
};

/// What the user and the model's scheduler config say of a run's levels. Unset: the sampler's
/// default.
struct TrajectoryConfig {
  int steps = 30;
  std::string respacing;  ///< guided-diffusion's; replaces steps and spacing when not empty.
  std::optional<Spacing> spacing;
  SigmaRule sigmas = SigmaRule::none;
  std::vector<double> sigma_list = {};  ///< Of SigmaRule::listed, as many as there are steps.
  int steps_offset = 0;
  bool set_alpha_to_one = true;  ///< DDIM: end at x_0, not at abar_0.
  bool final_sigma_zero = true;  ///< false: end at the table's smallest sigma.
  bool strict = false;           ///< Reproduce diffusers where Tiller by default does better.
  double sigma_min = 0, sigma_max = 0;  ///< Ends of a sigma rule; 0: as diffusers' class has them.
  double rho = 7;                       ///< Karras.
  /// Open spacing: no timesteps of a smaller log(alpha / sigma), as for cosine schedules.
  std::optional<double> lambda_min_clipped;
  std::optional<double> shift;  ///< Of a flow's sigmas; unset: the model's own.
  int original_steps = 50;      ///< Consistency models: how many timesteps they were distilled on.
};

/// Variance preserving, at whole timesteps: DDIM and DDPM. Default spacing: leading.
/// `strict` steps by T / N whatever the spacing, as DDIMScheduler does.
Trajectory table_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// alpha = 1, at fractional timesteps: Euler, Heun and their like. Default spacing: linspace.
Trajectory sigma_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// sigma_trajectory, or through a flow's own levels (alpha = 1 - sigma): Heun and LMS, whose slope
/// (x - x_0) / sigma is the flow's velocity there. linspace: as FlowMatchEulerDiscreteScheduler has
/// it, whose ends are shifted twice. trailing: 1, ..., 1 / N, shifted once, as FLUX has it, and the
/// default of rectified flows, which run from 1 - 1e-3 times these, where their times begin.
Trajectory ode_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// The same as the authors of rectified flow step by Euler's method (arXiv 2209.03003): over the
/// whole of the line, the network being told times from 1e-3 on.
Trajectory euler_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// Variance preserving, with the open spacing and whole timesteps: DPM++ multistep. Default:
/// linspace. Sigmas of a rule span the model's whole table.
Trajectory open_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// The same but that timesteps of Karras' sigmas are rounded on cosine schedules too, as diffusers'
/// classes other than DPMSolverMultistepScheduler have it: UniPC, DEIS and their like.
Trajectory rounded_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// Variance preserving, at timesteps of the table, descending, of which the run ends at the last.
Trajectory timestep_trajectory(const NoiseSchedule&, const std::vector<double>& timesteps);
/// Variance preserving, at `steps` of the `original_steps` timesteps that a consistency model was
/// distilled on (arXiv 2310.04378), by the same rule for TCD. Throws UsageError when asked for
/// more.
Trajectory consistency_trajectory(const NoiseSchedule&, const TrajectoryConfig&);
/// alpha = 1, any descending sigmas (the last may be 0) and any rule for the network's timestep.
Trajectory custom_trajectory(const std::vector<double>& sigmas,
                             std::function<double(double sigma)> timestep_of);

/// A rule's sigmas, as many as `steps`; the given ends unless the config names others. Throws
/// UsageError where these are the wrong way round.
std::vector<double> ruled_sigmas(const TrajectoryConfig&, size_t steps, double sigma_min,
                                 double sigma_max, const std::vector<double>& table);

/// Image to image: leaves out the first steps so that about `strength` of them remain, as
/// diffusers' get_timesteps does; the image, at level 0, is to be noised with noised() first.
/// Throws UsageError unless strength is in (0, 1] and leaves a step.
Trajectory from_strength(Trajectory, double strength);
/// The same in two: how many steps are left out, and the run without them.
int skipped_by(const Trajectory&, double strength);
Trajectory without_first(Trajectory, int steps);
/// x_0 with noise, as it is where the trajectory begins. Shapes (B, C, H, W).
Tensor noised(const Tensor& sample, const Tensor& noise, const NoiseLevel&);

/// Throws Error where a run begins at pure noise (zero terminal SNR), of which an epsilon says
/// nothing.
void require_signal(const Trajectory&, PredictionType);

/// What an observer is told after each step, and by samplers that evaluate twice a step between
/// these (`within`).
struct StepReport {
  int step;  ///< Just done; 0 is the noisiest.
  int steps;
  const NoiseLevel& level;  ///< Of `sample`.
  Tensor& sample;  ///< (B, C, H, W) after the step; the run goes on from what it is set to.
  const Prediction& prediction;
  bool within = false;  ///< Not yet done: between two evaluations of the step.
};
/// May be empty. Must not wait for the device unless it means to.
using Observer = std::function<void(const StepReport&)>;

}  // namespace tiller
