#include <algorithm>
#include <cmath>
#include <deque>

#include "samplers/registry.h"
#include "samplers/step.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

using History = PndmOptions::History;

/// What the multistep rules combine: epsilon, or v in units of the level's scale.
Tensor output_of(const Prediction& p, const NoiseLevel& level, History history) {
  if (history == History::epsilon) return p.epsilon;
  return level.alpha * p.epsilon - level.sigma * p.sample;
}

/// Equation 9: the deterministic DDIM step from one level to another by what was combined.
Tensor transferred(const Tensor& x, const Combination& output, const NoiseLevel& from,
                   const NoiseLevel& to, History history) {
  const Combination epsilon =
      history == History::epsilon ? output : from.alpha * output + from.sigma * Combination(x);
  const double scale = to.alpha / from.alpha;
  return scale * Combination(x) + (to.sigma - scale * from.sigma) * epsilon;
}

/// Adams-Bashforth's combination of the outputs, the latest first.
Combination extrapolated(const std::deque<Tensor>& past) {
  static constexpr double weights[4][4] = {{1},
                                           {3 / 2., -1 / 2.},
                                           {23 / 12., -16 / 12., 5 / 12.},
                                           {55 / 24., -59 / 24., 37 / 24., -9 / 24.}};
  Combination sum;
  for (size_t k = 0; k < past.size(); ++k) sum.add(past[k], weights[past.size() - 1][k]);
  return sum;
}

/// One step's surroundings.
struct Stage {
  const Denoiser& denoise;
  const Trajectory& trajectory;
  History history;

  Tensor evaluate(const Tensor& x, const NoiseLevel& level, Prediction& p) const {
    p = denoise(x, level);
    return output_of(p, level, history);
  }

  /// Where PRK's middle evaluations take place: half the step's whole timesteps below its start,
  /// the second one that many above its end, which the network is told of both, as PNDMScheduler
  /// does.
  NoiseLevel middle(int i, bool again) const {
    const double start = trajectory.levels[i].timestep, end = trajectory.levels[i + 1].timestep;
    const double half = std::floor((start - end) / 2);
    NoiseLevel level = trajectory.level_at(again ? end + half : start - half);
    level.timestep = end + half;
    level.step = i;
    return level;
  }

  /// Pseudo Runge-Kutta of fourth order, equation 13; `first` is the output at the step's start.
  Tensor runge_kutta(const Tensor& x, const Tensor& first, int i) const {
    const NoiseLevel &from = trajectory.levels[i], half = middle(i, false), below = middle(i, true);
    NoiseLevel to = trajectory.levels[i + 1];
    to.step = i;
    Prediction p;
    const Tensor second = evaluate(transferred(x, first, from, half, history), half, p);
    const Tensor third = evaluate(transferred(x, second, from, below, history), below, p);
    const Tensor fourth = evaluate(transferred(x, third, from, to, history), to, p);
    const Tensor mean = (first + 2 * second + 2 * third + fourth) / 6;
    return transferred(x, mean, from, to, history);
  }

  /// Half of PLMS's first step: a plain one, which ends a stride below its start; the network is
  /// told `to`.
  Tensor euler_end(const Tensor& x, const Tensor& first, const NoiseLevel& to,
                   const Observer& observer, const Prediction& p) const {
    Tensor end = transferred(x, first, trajectory.levels[0], trajectory.landing(0), history);
    report_within(observer, trajectory, 0, to, end, p);
    return end;
  }

  /// PLMS's first step: the mean of the outputs at its start and at where a plain step ends.
  /// PNDMScheduler's second call takes its start to be a whole stride above the next timestep.
  Tensor improved_euler(const Tensor& x, const Tensor& first, const Observer& observer,
                        const Prediction& start) const {
    NoiseLevel from = trajectory.levels[0];
    NoiseLevel to = trajectory.levels[1];
    to.step = 0;
    Prediction p;
    const Tensor end = euler_end(x, first, to, observer, start);
    const Tensor mean = (first + evaluate(end, to, p)) / 2;
    if (!trajectory.landings.empty())
      from = trajectory.level_at(to.timestep + from.timestep - trajectory.landing(0).timestep);
    return transferred(x, mean, from, to, history);
  }

  /// The same where the first timestep was left out: the second one stands twice in diffusers'
  /// list, and the step ends where it begins.
  Tensor improved_euler_again(const Tensor& x, const Tensor& first, const Observer& observer,
                              const Prediction& start) const {
    const NoiseLevel& to = trajectory.levels[0];
    Prediction p;
    const Tensor end = euler_end(x, first, to, observer, start);
    const Tensor mean = (first + evaluate(end, to, p)) / 2;
    return transferred(x, mean, trajectory.left_out.back(), to, history);
  }
};

/// A run from an image on, as diffusers' pipelines cut PNDMScheduler's list of timesteps, in which
/// the second stands twice. Where more than the first is left out, the run begins a level noisier,
/// its second evaluation corrects the first step, and each step after that starts a level below
/// its sample.
Tensor sample_cut(const Stage& stage, Tensor x, const Observer& observer) {
  const Trajectory& trajectory = stage.trajectory;
  const bool twice = trajectory.skipped_steps == 1;
  const Tensor start = x;
  std::deque<Tensor> past;  // the latest first
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    Prediction p;
    const Tensor output = stage.evaluate(x, from, p);
    const bool corrects = i == 1 && !twice;
    if (!corrects) past.push_front(output);
    if (past.size() > 4) past.pop_back();
    if (corrects)
      x = transferred(start, (past[0] + output) / 2, trajectory.levels[0], from, stage.history);
    else if (i == 0 && twice)
      x = stage.improved_euler_again(x, output, observer, p);
    else
      x = transferred(x, extrapolated(past), from, to, stage.history);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

}  // namespace

Tensor sample_pndm(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const PndmOptions& options, NoiseSource&, const Observer& observer) {
  require_signal_at_start(trajectory);
  x = as_state(x);
  const Stage stage{denoise, trajectory, options.history};
  if (trajectory.skipped_steps > 0 && options.skip_prk_steps) return sample_cut(stage, x, observer);
  const int before_last = trajectory.steps() - 1;
  const int runge_kutta_steps = options.skip_prk_steps ? 0 : std::min(3, before_last);
  std::deque<Tensor> past;  // the latest first
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel& from = trajectory.levels[i];
    Prediction p;
    past.push_front(stage.evaluate(x, from, p));
    if (past.size() > 4) past.pop_back();
    if (i < runge_kutta_steps)
      x = stage.runge_kutta(x, past[0], i);
    else if (i == 0 && before_last > 0)
      x = stage.improved_euler(x, past[0], observer, p);
    else
      x = transferred(x, extrapolated(past), from, trajectory.landing(i), options.history);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

Trajectory pndm_from_strength(Trajectory trajectory, double strength, const Options& options) {
  if (!options.flag("skip_prk_steps")) return from_strength(std::move(trajectory), strength);
  const int skipped = skipped_by(trajectory, strength);
  Trajectory cut = without_first(std::move(trajectory), skipped > 1 ? skipped - 1 : skipped);
  cut.skipped_steps = skipped;
  return cut;
}

}  // namespace

Sampler pndm_sampler() {
  return {.name = "pndm",
          .description = "Pseudo linear multistep (PLMS), optionally after Runge-Kutta steps",
          .paper = "2202.09778",
          .scheduler = "PNDMScheduler",
          .options = {{"skip_prk_steps", "true", "false: the first three steps by Runge-Kutta"},
                      {"history", "epsilon", "epsilon or v: what is combined over the steps"},
                      {"set_alpha_to_one", "false", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .reads_sample = false,
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                const bool v = options.choice("history", {"epsilon", "v"}) == "v";
                const PndmOptions pndm{options.flag("skip_prk_steps"),
                                       v ? History::v : History::epsilon};
                return sample_pndm(denoise, std::move(x), trajectory, pndm, noise, observer);
              },
          .from_strength = pndm_from_strength};
}

}  // namespace tiller
