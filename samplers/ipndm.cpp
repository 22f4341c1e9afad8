#include <deque>

#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

std::vector<double> even_weights(int order) {
  static const std::vector<std::vector<double>> all = {{1},
                                                       {3 / 2., -1 / 2.},
                                                       {23 / 12., -16 / 12., 5 / 12.},
                                                       {55 / 24., -59 / 24., 37 / 24., -9 / 24.}};
  return all[order - 1];
}

/// ComfyUI's, which begin as Adams-Bashforth's and differ from order 3 on. steps: the changes of
/// sigma, this one first.
std::vector<double> variable_weights(const std::vector<double>& steps) {
  if (steps.size() == 1) return {1};
  const double h = steps[0], h1 = steps[1], half = h / h1 / 2;
  std::vector<double> weights = {1 + half, -half};
  if (steps.size() == 2) return weights;
  const double h2 = steps[2], near = h1 / h2;
  const double third = (1 - h * h / (3 * h1 * (h1 + h2))) / 2;
  weights = {weights[0] + third, weights[1] - (1 + near) * third, near * third};
  if (steps.size() == 3) return weights;
  const double h3 = steps[3], far = h1 * (h1 + h2) / (h2 * (h2 + h3)), sum = h + h1 + h2;
  const double shape = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * sum);
  const double fourth = shape * h * (h + h1) * sum / (h1 * (h1 + h2) * (h1 + h2 + h3));
  return {weights[0] + fourth, weights[1] - (1 + near + far) * fourth,
          weights[2] + (near + far * (1 + h2 / h3)) * fourth, -far * near * fourth};
}

/// The changes of sigma of the latest steps, step i's first.
std::vector<double> sigma_steps(const Trajectory& trajectory, int i, int count) {
  std::vector<double> steps = {trajectory.landing(i).sigma - trajectory.levels[i].sigma};
  for (int k = 1; k < count; ++k)
    steps.push_back(trajectory.levels[i - k + 1].sigma - trajectory.levels[i - k].sigma);
  return steps;
}

}  // namespace

Tensor sample_ipndm(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const IpndmOptions& options, NoiseSource&, const Observer& observer) {
  x = as_state(x);
  std::deque<Tensor> past;  // the latest first
  for (int i = 0; i < trajectory.steps(); ++i) {
    const Prediction p = denoise(x, trajectory.levels[i]);
    past.push_front(slope(x, p, trajectory.levels[i].sigma));
    if (static_cast<int>(past.size()) > options.order) past.pop_back();
    const auto steps = sigma_steps(trajectory, i, static_cast<int>(past.size()));
    const auto weights = options.variable_step ? variable_weights(steps)
                                               : even_weights(static_cast<int>(past.size()));
    Combination next = x;
    for (size_t k = 0; k < past.size(); ++k) next.add(past[k], steps[0] * weights[k]);
    x = trajectory.landing(i).sigma > 0 ? next : p.sample;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

template <bool variable_step>
Tensor run_ipndm(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
  const IpndmOptions ipndm{bounded_integer(options, "order", 1, 4), variable_step};
  return sample_ipndm(denoise, std::move(x), trajectory, ipndm, noise, observer);
}

}  // namespace

Sampler ipndm_sampler() {
  return {.name = "ipndm",
          .description = "ComfyUI's iPNDM: slopes on the sigmas, weighted as if steps were even",
          .paper = "2204.13902",
          .options = {{"order", "4", "1 to 4: how many steps' slopes a step uses"}, shift_option()},
          .trajectory = ode_trajectory,
          .run = run_ipndm<false>};
}

Sampler ipndm_v_sampler() {
  Sampler sampler = ipndm_sampler();
  sampler.name = "ipndm-v";
  sampler.description = "ComfyUI's iPNDM with weights for uneven steps; lms has the exact ones";
  sampler.run = run_ipndm<true>;
  return sampler;
}

}  // namespace tiller
