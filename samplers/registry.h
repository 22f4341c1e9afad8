#pragma once
#include "io/options.h"
#include "samplers/inversion.h"
#include "samplers/samplers.h"

namespace tiller {

/// A sampler as the command line and `tiller list` know it.
struct Sampler {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::string scheduler;    ///< diffusers' class, whose config keys it takes; "" where it has none.
  std::vector<Option> options;
  /// The levels of a run, from the model's noise schedule and what was asked for.
  Trajectory (*trajectory)(const NoiseSchedule&, const TrajectoryConfig&);
  bool reads_sample = true;  ///< false: limits of the estimate of x_0 change nothing.
  bool renoises = false;     ///< Uses Prediction::renoise where guidance gives it (CFG++).
  /// x: noise times the trajectory's initial_scale, (B, C, H, W).
  Tensor (*run)(const Denoiser&, Tensor x, const Trajectory&, const Options&, NoiseSource&,
                const Observer&);
  /// Step i of samplers that evaluate once a step and remember nothing: x_{i+1} from x_i and its
  /// prediction. Null: the others.
  Tensor (*step)(const Tensor& x, const Prediction&, const Trajectory&, int i, const Options&,
                 NoiseSource&) = nullptr;
  Inverse inverse = {};  ///< Without functions: it can't be run backwards.
  /// The levels of a run from an image on.
  Trajectory (*from_strength)(Trajectory, double strength, const Options&) =
      [](Trajectory trajectory, double strength, const Options&) {
        return tiller::from_strength(std::move(trajectory), strength);
      };
};

/// All samplers, in the order in which they are listed.
const std::vector<Sampler>& samplers();
/// Throws UsageError, with a suggestion, when there is none of this name.
const Sampler& find_sampler(const std::string& name);

/// The options that every sampler understands besides its own: those of its levels, which
/// with_options writes over `config`, and those that limit the estimate of x_0 (clip.h).
const std::vector<Option>& trajectory_options();
TrajectoryConfig with_options(TrajectoryConfig config, const Options&);

/// An option that is an integer from `low` to `high`; throws UsageError otherwise.
int bounded_integer(const Options&, const std::string& name, int low, int high);

}  // namespace tiller
