#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "io/error.h"
#include "samplers/registry.h"
#include "samplers/steered.h"

namespace tiller {
namespace {

struct NullText {
  int iterations;
  double rate, threshold;
};

NullText null_text_options(const Options& options) {
  return {bounded_integer(options, "iterations", 0, 10'000), options.number("rate", 0, 1),
          options.number("threshold", 0, 1e6)};
}

/// Adam, arXiv 1412.6980, of one tensor whose rows (images) may rest.
class Adam {
 public:
  explicit Adam(const Tensor& like) : mean_(at::zeros_like(like)), square_(at::zeros_like(like)) {}

  void step(Tensor& x, const Tensor& gradient, const Tensor& active, double rate) {
    ++steps_;
    mean_ = 0.9 * mean_ + 0.1 * gradient;
    square_ = 0.999 * square_ + 0.001 * gradient.square();
    const Tensor corrected = mean_ / (1 - std::pow(0.9, steps_));
    const Tensor size = (square_ / (1 - std::pow(0.999, steps_))).sqrt() + 1e-8;
    x = at::where(active, x - rate * corrected / size, x);
  }

 private:
  Tensor mean_, square_;
  int steps_ = 0;
};

struct Loss {
  Tensor rows, gradient;  ///< (B) and (B, L, D).
};

/// How far the guided step from x misses the target, and which negative would miss it less.
Loss loss_of(const InversionRun& run, const Tensor& x, const Tensor& target, int level,
             const Tensor& negative) {
  const c10::AutoGradMode with_grad(true);
  Tensor leaf = negative.detach().clone();
  leaf.set_requires_grad(true);
  const Stepped next =
      ddim_down(run.steering.with_negative(leaf), run.trajectory, x.detach(), level);
  const Tensor rows = (next.latents - target).square().flatten(1).mean(1);
  if (rows.requires_grad()) rows.sum().backward();
  if (!leaf.grad().defined())
    throw UsageError(
        "null-text: got a guidance that the negative prompt has no part in, expected one that it "
        "has, such as cfg:scale=3.");
  return {rows.detach(), leaf.grad().detach()};
}

/// arXiv 2211.09794, algorithm 1, lines 5 to 8, for one step; the learning rate falls to half over
/// the run, and what is good enough grows by twice the first threshold a step, as the authors' do.
/// What is good enough before an update gets that one and no more.
Tensor optimised(const InversionRun& run, const Tensor& x, const Tensor& target, int level,
                 Tensor negative, const NullText& how) {
  const double rate = how.rate * (1 - 0.5 * level / run.trajectory.steps());
  const double enough = how.threshold * (1 + 2 * level);
  Adam adam(negative);
  Tensor active = at::ones({negative.size(0)}, negative.options().dtype(at::kBool));
  for (int i = 0; i < how.iterations; ++i) {
    const Loss loss = loss_of(run, x, target, level, negative);
    adam.step(negative, loss.gradient, active.view({-1, 1, 1}), rate);
    active = active.logical_and(loss.rows >= enough);
    if (!active.any().item<bool>()) break;
  }
  return negative;
}

InversionState null_text_ascend(const InversionRun& run, InversionState state, int until) {
  const NullText how = null_text_options(run.options);
  require_text(run);
  const int steps = run.trajectory.steps();
  std::vector<Tensor> path, record;
  InversionState end = ascend_unguided(run, state, until, &path);
  if (until == state.level) return end;
  Tensor x = end.latents, negative = run.steering.negative;
  for (int level = until; level < state.level; ++level) {
    negative = optimised(run, x, path[size_t(state.level - level - 1)], level, negative, how);
    record.push_back(negative);
    if (level + 1 < state.level)
      x = ddim_down(run.steering.with_negative(negative), run.trajectory, x, level).latents;
  }
  for (int level = state.level; level < steps; ++level) record.push_back(negative);
  end.record = at::stack(record);
  return end;
}

InversionState null_text_descend(const InversionRun& run, InversionState state) {
  return descend_with_negatives(run, state, "null-text");
}

}  // namespace

Sampler null_text_sampler() {
  return {.name = "null-text",
          .description =
              "DDIM, inverted without guidance; the negative prompt's states are then "
              "optimised for each step",
          .paper = "2211.09794",
          .scheduler = "DDIMScheduler",
          .options = {{"iterations", "10", "of Adam, at most, a step"},
                      {"rate", "0.01", "Adam's learning rate at the first step; half at the last"},
                      {"threshold", "1e-5", "mean squared error that is good enough at first"},
                      {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .renoises = true,
          .run = generate_with_ddim_after<null_text_options>,
          .inverse = {.ascend = null_text_ascend, .descend = null_text_descend}};
}

}  // namespace tiller
