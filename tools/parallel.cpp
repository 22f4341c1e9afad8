#include "tools/parallel.h"

#include "guidance/pooled_denoiser.h"
#include "io/error.h"
#include "io/process_group.h"
#include "tools/denoising.h"

namespace tiller {

std::optional<ParallelOptions> requested_parallel(const GenerateRequest& request, int64_t steps) {
  if (request.parallel.empty()) return std::nullopt;
  return parallel_options(request.parallel, int(steps), {"branches", "batch"});
}

void check_parallel(const Generation& generation, std::span<const ChosenGuidance> guidances) {
  const GenerateRequest& request = generation.request;
  if (request.parallel.empty()) return;
  require_one_step(*generation.sampler, generation.sampler_options);
  const auto refuse = [](const std::string& what) {
    throw UsageError("--parallel: got " + what + ", which needs one step after the other.");
  };
  for (const auto& chosen : guidances)
    if (chosen.guidance->remembers())
      throw UsageError(
          "--parallel: got guidance " + chosen.text +
          ", which remembers the steps before, expected none that does (apg: momentum=0).");
  const Options& options = generation.sampler_options;
  if (options.has("time_shift") && options.text("time_shift") != "0") refuse("time_shift");
  if (!request.words.maps.empty()) refuse("--attention-map");
  if (!request.words.effects.empty()) refuse("--attention-effect");
  if (generation.inversion) refuse("--inversion");
  if (generation.keeps_state) refuse("--save-inversion");
  const Network& network = *generation.model.network;
  if (generation.init.mask.defined() && network.in_channels() == network.out_channels())
    refuse("--mask with a network that doesn't read it");
}

Tensor run_parallel(const Generation& generation, std::span<const ChosenGuidance> guidances,
                    GuidedBatch batch, Tensor x, NoiseSource& noise, GuidanceCost& cost,
                    const Observer& observer) {
  const Trajectory& trajectory = generation.trajectory;
  const auto options = requested_parallel(generation.request, trajectory.steps());
  auto sets = guidance_sets(guidances, generation.model, size_t(options->window));
  const WindowDenoiser pooled = pooled_denoiser(generation.model, std::move(sets), std::move(batch),
                                                generation.request.share, &cost);
  const WindowDenoiser limited = [&](std::span<const Tensor> points,
                                     std::span<const NoiseLevel> levels) {
    std::vector<Prediction> predictions = pooled(points, levels);
    for (size_t i = 0; i < points.size(); ++i) {
      const Denoiser known = [&](const Tensor&, const NoiseLevel&) { return predictions[i]; };
      predictions[i] = corrected(generation, known)(points[i], levels[i]);
    }
    return predictions;
  };
  return sample_parallel(limited, std::move(x), trajectory, *generation.sampler,
                         generation.sampler_options, noise, *options, observer);
}

Json parallel_json(const Generation& generation, const GuidanceCost& cost) {
  const auto options = requested_parallel(generation.request, generation.trajectory.steps());
  return {{"method", generation.request.parallel},
          {"processes", generation.together ? generation.together->world() : 1},
          {"window", options->window},
          {"tolerance", options->tolerance},
          {"iterations", cost.windows},
          {"step_evaluations", cost.window_steps}};
}

}  // namespace tiller
