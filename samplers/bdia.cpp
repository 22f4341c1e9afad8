#include "samplers/bdia.h"

#include <cmath>

#include "io/error.h"
#include "samplers/lattice.h"
#include "samplers/ode.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

/// Below, the inverse multiplies every rounding with 1 / gamma a step: beyond all numbers soon.
constexpr double least_invertible = 0.9;

bool uses_lattice(const Options& options, double gamma) {
  if (!options.has("lattice")) return gamma >= least_invertible;
  if (options.choice("lattice", {"on", "off"}) == "off") return false;
  if (gamma < least_invertible)
    throw UsageError("gamma: got " + options.text("gamma") +
                     " with lattice=on, expected 0.9 to 1. lattice=off generates with any.");
  return true;
}

void require_inverse(const Options& options) {
  const double gamma = options.number("gamma", 0, 1);
  if (gamma >= least_invertible) return;
  throw UsageError("gamma: got " + options.text("gamma") +
                   ", expected 0.9 to 1 for inversion: the inverse divides by gamma at each step, "
                   "so that its noise grows as gamma^-steps.");
}

/// Numbers as floats, or on a lattice, where products are reversible.
class Arithmetic {
 public:
  explicit Arithmetic(const Options& options)
      : gamma_(options.number("gamma", 0, 1)), lattice_(uses_lattice(options, gamma_)) {
    if (lattice_) factor_ = nearest_factor(gamma_);
  }

  Tensor enter(const Tensor& x) const {
    const bool integers = at::isIntegralType(x.scalar_type(), false);
    if (lattice_) return integers ? x.to(at::kLong) : to_lattice(x);
    return integers ? float_latents(x) : as_state(x);
  }

  /// As networks read it.
  Tensor value(const Tensor& z) const { return lattice_ ? float_latents(z) : z; }

  Tensor at(const LinearStep& step) {
    if (!lattice_) return step.a * step.x + step.b * step.y;
    const Tensor sum = lattice_sum(step.x, step.a, step.y, step.b);
    const Tensor largest = sum.abs().max();
    worst_ = worst_.defined() ? at::maximum(worst_, largest) : largest;
    return sum;
  }

  Tensor times_gamma(const Tensor& w, Tensor& side) const {
    if (!lattice_) return gamma_ * w;
    prepare(side, w);
    return multiply(w, side, factor_);
  }

  Tensor over_gamma(const Tensor& w, Tensor& side) const {
    if (!lattice_) return w / gamma_;
    prepare(side, w);
    return divide(w, side, factor_);
  }

  /// Tells the observer, which may change the latents: on a lattice only where it did.
  Tensor told(const InversionRun& run, int step, const NoiseLevel& level, const Tensor& z,
              const Prediction& prediction) const {
    if (lattice_) return reported_on_lattice(run, step, level, z, prediction);
    Tensor after = z;
    if (run.observer) run.observer({step, run.trajectory.steps(), level, after, prediction});
    return after;
  }

  InversionState leave(int level, const Tensor& latents, const Tensor& partner,
                       const Tensor& side) const {
    const bool narrow = lattice_ && largest(latents, partner) <= INT32_MAX;
    const auto stored = [&](const Tensor& z) { return narrow && z.defined() ? z.to(at::kInt) : z; };
    return {level, stored(latents), stored(partner), side, {}};
  }

  /// Throws UsageError when the digits that descending leaves won't fit.
  void require_room(int steps) const { require_at_most(side_capacity(factor_), steps); }

  /// Throws UsageError where ascending makes one unit of the lattice, about what a step rounds
  /// away, larger than all that it holds: gamma^-steps times.
  void require_growth(int steps) const {
    if (factor_.n == factor_.d) return;
    const double growth = std::log2(double(factor_.d) / double(factor_.n));
    require_at_most(int64_t(std::log2(double(lattice_limit)) / growth), steps);
  }

 private:
  void require_at_most(int64_t most, int steps) const {
    if (lattice_ && steps > most)
      throw UsageError("steps: got " + std::to_string(steps) + ", expected at most " +
                       std::to_string(most) + " with gamma " + std::to_string(factor_.n) + "/" +
                       std::to_string(factor_.d) + " on a lattice. Use gamma=1.");
  }

  void prepare(Tensor& side, const Tensor& like) const {
    if (!side.defined() && factor_.n != factor_.d) side = at::zeros_like(like);
  }

  /// Throws Error when a sum left the range of lattice_sum, or isn't a number.
  int64_t largest(const Tensor& latents, const Tensor& partner) const {
    if (worst_.defined() && worst_.item<int64_t>() >= lattice_limit)
      throw Error(
          "bdia: got latents that aren't numbers or beyond 2^31, expected a lattice's. Take gamma "
          "nearer to 1, fewer steps, a lower guidance scale or float32.");
    const Tensor largest = latents.abs().max();
    return (partner.defined() ? at::maximum(largest, partner.abs().max()) : largest)
        .item<int64_t>();
  }

  double gamma_;
  bool lattice_;
  LatticeFactor factor_;
  Tensor worst_;
};

NoiseLevel level_of(const Trajectory& trajectory, int level) {
  return level == trajectory.steps() ? end_level(trajectory) : trajectory.levels[level];
}

}  // namespace

BidirectionalStep ddim_steps(const InversionRun& run, const Tensor& latents, int level) {
  const auto& levels = run.trajectory.levels;
  const Prediction p = run.denoise(latents, level_of(run.trajectory, level));
  const NoiseLevel& from = levels[level];
  BidirectionalStep steps{.prediction = p};
  if (level == run.trajectory.steps()) {
    const NoiseLevel& to = levels[level - 1];
    const double scale = to.alpha / from.alpha;
    steps.noisier = {latents, scale, noise_of(p), to.sigma - from.sigma * scale};
    return steps;
  }
  const auto to = [&](const NoiseLevel& other) {
    return LinearStep{p.sample, other.alpha, noise_of(p), other.sigma};
  };
  steps.cleaner = to(levels[level + 1]);
  if (level > 0) steps.noisier = to(levels[level - 1]);
  return steps;
}

BidirectionalStep edm_steps(const InversionRun& run, const Tensor& latents, int level) {
  const auto& levels = run.trajectory.levels;
  const NoiseLevel at = level_of(run.trajectory, level);
  const Prediction p = run.denoise(latents, at);
  const bool end = level == run.trajectory.steps();
  const Tensor d = end ? p.epsilon : slope(latents, p, at.sigma);
  const auto towards = [&](int other, const Tensor& direction) {
    return LinearStep{latents, 1, direction, levels[other].sigma - levels[level].sigma};
  };
  BidirectionalStep steps{.prediction = p};
  if (level > 0) steps.noisier = towards(level - 1, d);
  if (end) return steps;
  steps.cleaner = towards(level + 1, d);
  NoiseLevel to = levels[level + 1];
  if (to.sigma > 0) {
    to.step = level;
    const Tensor euler = p.sample + to.sigma * d;
    steps.cleaner.y = (d + slope(euler, run.denoise(euler, to), to.sigma)) / 2;
  }
  return steps;
}

InversionState bdia_ascend(BidirectionalSolver solve, const InversionRun& run, InversionState state,
                           int until) {
  require_inverse(run.options);
  Arithmetic numbers(run.options);
  const int end = run.trajectory.steps();
  Tensor previous = numbers.enter(state.latents), side = state.side, current;
  if (until == end) return numbers.leave(end, previous, {}, side);
  int level = end - 1;
  if (state.partner.defined()) {
    current = numbers.enter(state.partner);
  } else {
    const auto first = solve(run, numbers.value(previous), end);
    current = numbers.at(first.noisier);
    numbers.told(run, level, run.trajectory.levels[level], current, first.prediction);
  }
  for (; level > until; --level) {
    const auto steps = solve(run, numbers.value(current), level);
    const Tensor rest = previous - numbers.at(steps.cleaner);
    previous = std::exchange(current, numbers.over_gamma(rest, side) + numbers.at(steps.noisier));
    numbers.told(run, level - 1, run.trajectory.levels[level - 1], current, steps.prediction);
  }
  return numbers.leave(until, current, previous, side);
}

InversionState bdia_descend(BidirectionalSolver solve, const InversionRun& run,
                            InversionState state) {
  Arithmetic numbers(run.options);
  if (!state.side.defined()) numbers.require_room(run.trajectory.steps());
  const int end = run.trajectory.steps();
  int level = state.level;
  Tensor previous = numbers.enter(state.latents), side = state.side, current;
  if (level == end) return numbers.leave(end, previous, {}, side);
  if (state.partner.defined()) {
    current = numbers.enter(state.partner);
  } else {
    const auto first = solve(run, numbers.value(previous), level);
    current = numbers.told(run, level, run.trajectory.levels[level + 1], numbers.at(first.cleaner),
                           first.prediction);
  }
  for (++level; level < end; ++level) {
    const auto steps = solve(run, numbers.value(current), level);
    const Tensor kept = numbers.times_gamma(previous - numbers.at(steps.noisier), side);
    previous = std::exchange(current, kept + numbers.at(steps.cleaner));
    current = numbers.told(run, level, run.trajectory.levels[level + 1], current, steps.prediction);
  }
  return numbers.leave(end, current, previous, side);
}

namespace {

std::vector<Option> bdia_options() {
  return {{"gamma", "1", "1: plain differences, 0: the solver's own steps; inverts from 0.9"},
          {"lattice", "", "on: exact to the bit; off: floats; default: on where gamma inverts"}};
}

template <BidirectionalSolver solver>
Tensor generate_bdia(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                     const Options& options, NoiseSource&, const Observer& observer) {
  const InversionRun run{denoise, trajectory, options, {}, observer};
  return float_latents(bdia_descend(solver, run, {.latents = std::move(x)}).latents);
}

template <BidirectionalSolver solver>
Inverse inverse_of() {
  return {
      .exact = true,
      .pairs = true,
      .check_ascent = [](const Options& options,
                         int steps) { Arithmetic(options).require_growth(steps); },
      .check_descent = [](const Options& options,
                          int steps) { Arithmetic(options).require_room(steps); },
      .ascend = [](const InversionRun& run, InversionState state,
                   int until) { return bdia_ascend(solver, run, std::move(state), until); },
      .descend = [](const InversionRun& run,
                    InversionState state) { return bdia_descend(solver, run, std::move(state)); }};
}

}  // namespace

Sampler bdia_sampler() {
  std::vector<Option> options = bdia_options();
  options.push_back({"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"});
  return {.name = "bdia",
          .description = "Bi-directional integration approximation over DDIM: exactly invertible",
          .paper = "2307.10829",
          .scheduler = "DDIMScheduler",
          .options = options,
          .trajectory = table_trajectory,
          .renoises = true,
          .run = generate_bdia<ddim_steps>,
          .inverse = inverse_of<ddim_steps>()};
}

Sampler bdia_edm_sampler() {
  return {.name = "bdia-edm",
          .description = "The same over Heun's method, two evaluations a step",
          .paper = "2307.10829",
          .scheduler = "EulerDiscreteScheduler",
          .options = bdia_options(),
          .trajectory = sigma_trajectory,
          .run = generate_bdia<edm_steps>,
          .inverse = inverse_of<edm_steps>()};
}

}  // namespace tiller
