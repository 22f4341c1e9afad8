#include "samplers/noise_maps.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "samplers/lattice.h"

namespace tiller {
namespace {

/// q(x_t | x_0) for levels until, ..., state.level, the last being the image itself.
std::vector<Tensor> drawn_path(const InversionRun& run, const InversionState& state, int until) {
  std::vector<Tensor> path = {on_lattice(state.latents)};
  const Tensor image = float_latents(path.front());
  for (int level = state.level - 1; level >= until; --level)
    path.push_back(to_lattice(noised(image, run.noise->draw(image), run.trajectory.levels[level])));
  std::reverse(path.begin(), path.end());
  return path;
}

void require_maps(const InversionState& state, const std::string& sampler) {
  const Tensor& record = state.record;
  if (record.dim() == 5 && record[0].sizes() == state.latents.sizes() &&
      at::isIntegralType(record.scalar_type(), false))
    return;
  throw Error(sampler + ": got a record of another shape, expected a step's noise in each.");
}

/// The noise of a step on the lattice; steps before the record's first have none.
Tensor noise_map(const Tensor& record, int level, int steps) {
  const int64_t index = level - (steps - record.size(0));
  return index < 0 ? at::zeros_like(record[0], at::kLong) : record[index].to(at::kLong);
}

}  // namespace

double eta_to_invert(const Options& options, double most) {
  const double eta = options.number("eta", 0, most);
  if (eta > 0) return eta;
  throw UsageError("eta: got " + options.text("eta") +
                   ", expected above 0 for inversion: steps without noise have none to keep. "
                   "`direct` keeps what DDIM misses.");
}

InversionState ascend_by_noise_maps(const InversionRun& run, const InversionState& state, int until,
                                    const NoisyStep& step, const std::string& sampler) {
  require_landings_on_levels(run.trajectory);
  const std::vector<Tensor> path = drawn_path(run, state, until);
  std::vector<Tensor> record;
  for (int level = until; level < state.level; ++level) {
    const size_t at = size_t(level - until);
    const Tensor x = float_latents(path[at]);
    const Prediction p = run.denoise(x, run.trajectory.levels[level]);
    record.push_back(stored_lattice(path[at + 1] - step.mean(x, p, level), sampler));
    report_ascending(run, level, x, p);
  }
  InversionState end{.level = until, .latents = stored_lattice(path.front(), sampler)};
  if (!record.empty()) end.record = at::stack(record);
  return end;
}

InversionState descend_by_noise_maps(const InversionRun& run, const InversionState& state,
                                     const NoisyStep& step, const std::string& sampler) {
  const int steps = run.trajectory.steps();
  Tensor z = on_lattice(state.latents);
  if (state.record.defined())
    require_maps(state, sampler);
  else
    run.noise->draw(float_latents(z));
  for (int level = state.level; level < steps; ++level) {
    const Tensor x = float_latents(z);
    const Prediction p = run.denoise(x, run.trajectory.levels[level]);
    const Tensor noise = state.record.defined()
                             ? noise_map(state.record, level, steps)
                             : to_lattice(step.noise(level) * run.noise->draw(x));
    z = reported_on_lattice(run, level, run.trajectory.landing(level),
                            step.mean(x, p, level) + noise, p);
  }
  return {.level = steps, .latents = stored_lattice(z, sampler)};
}

}  // namespace tiller
