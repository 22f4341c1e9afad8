#pragma once
/// What lessens exposure bias without training: a network samples from states that are noisier than
/// those that it was trained on.
#include "io/options.h"
#include "samplers/noise_schedule.h"
#include "samplers/trajectory.h"

namespace tiller {

/// Epsilon scaling, arXiv 2308.15321: epsilon is divided by lambda(t) = slope t + base before x_0
/// is made of it. t counts the steps of a run, 0 at its last, as ADM-ES does.
struct EpsilonScaling {
  double base = 1, slope = 0;
};
/// steps: of the run.
Denoiser epsilon_scaled(Denoiser, const EpsilonScaling&, int steps);

/// The time-shift sampler, arXiv 2305.15583: the network is told, for each image, the timestep
/// whose noise has the variance nearest to that of the image's pixels. Not at a run's first step.
struct TimeShift {
  int window = 0;     ///< Of timesteps around the step's own, half on each side.
  double cutoff = 0;  ///< Only at timesteps above.
};
/// Epsilon is what the network's answer means at the time that it was told; x_0 follows from it at
/// the step's own level.
Denoiser time_shifted(Denoiser, const TimeShift&, const NoiseSchedule&, PredictionType);
/// The timesteps of the table, (B) in float64, for images x, (B, C, H, W), of a variance preserving
/// level at timestep t.
Tensor timesteps_by_variance(const Tensor& x, double t, int window, const NoiseSchedule&);

/// Shifts, then scales as the options time_shift, time_shift_cutoff, epsilon_scaling and
/// epsilon_scaling_slope say. Throws UsageError where these have no meaning for the model or the
/// run.
Denoiser unbiased(Denoiser, const Options&, const Trajectory&, const NoiseSchedule&,
                  PredictionType);

}  // namespace tiller
