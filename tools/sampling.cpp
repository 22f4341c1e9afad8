#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>

#include "guidance/evaluation_graphs.h"
#include "io/error.h"
#include "io/process_group.h"
#include "models/device.h"
#include "samplers/straightness.h"
#include "tools/attention_maps.h"
#include "tools/behind.h"
#include "tools/caching.h"
#include "tools/conditioning.h"
#include "tools/decoding.h"
#include "tools/inversion_file.h"
#include "tools/parallel.h"
#include "tools/residence.h"
#include "tools/start.h"

namespace tiller {
namespace {

/// What the network reads beside x is the same for all branches, but for the one without the image
/// that is edited.
void share_channels(const Model& model, GuidedBatch& batch) {
  const Tensor& channels = batch.positive.channels;
  for (auto* other : {&batch.negative, &batch.empty})
    if (*other) (*other)->channels = channels;
  if (!model.edits()) return;
  batch.without_image = batch.negative;
  batch.without_image->channels = at::zeros_like(channels);
}

/// One batch of samples, and of a flow how straight it came.
DoneImages run_batch(const Generation& generation, std::span<ChosenGuidance> guidances,
                     std::span<const ImageSpec> images,
                     const std::shared_ptr<EvaluationGraphs>& graphs, GuidanceCost& cost,
                     const WordRecorder& words, const Observer& observer) {
  GuidedBatch batch = guided_batch(generation, images);
  words.attach(batch);
  batch.cache = requested_cache(generation);
  batch.together = generation.together;
  batch.graphs = graphs;
  SeededNoise noise(batch.seeds, random_numbers(generation.request));
  if (generation.init.image.defined()) use_vae(generation);
  const Start start = start_of(generation, int64_t(images.size()), noise, batch.positive);
  share_channels(generation.model, batch);
  use_unet(generation);
  Straightness straightness(start.x, generation.trajectory);
  const bool flow = is_flow(generation.model.prediction);
  const Observer measuring = [&](const StepReport& report) {
    straightness.add(report);
    observer(report);
  };
  const Observer& watching = flow ? measuring : observer;
  DoneImages done;
  if (generation.request.parallel.empty()) {
    const Denoiser denoise = batch_denoiser(generation, guidances, std::move(batch), &cost);
    done.samples =
        generation.sampler->run(denoise, start.x, generation.trajectory, generation.sampler_options,
                                noise, keeping(start, watching));
  } else {
    done.samples =
        run_parallel(generation, guidances, std::move(batch), start.x, noise, cost, watching);
  }
  done.samples = done.samples.to(at::kFloat);
  done.start = start.x;
  if (flow) done.straightness = straightness.measure().to(at::kCPU);
  return done;
}

Tensor start_noise(const Generation& generation, std::span<const ImageSpec> images) {
  const ImageSize size = latent_size(generation);
  std::vector<uint64_t> seeds;
  for (const auto& image : images) seeds.push_back(image.seed);
  SeededNoise noise(seeds, random_numbers(generation.request));
  return initial_noise(noise, {int64_t(images.size()), generation.model.network->out_channels(),
                               size.height, size.width}) *
         generation.trajectory.initial_scale;
}

/// A batch that goes on from an inversion's states, or can be inverted afterwards.
DoneImages run_reversibly(const Generation& generation, std::span<ChosenGuidance> guidances,
                          std::span<const ImageSpec> images, size_t first, GuidanceCost& cost,
                          const WordRecorder& words, const Observer& observer) {
  DoneImages done;
  InversionState state;
  if (generation.inversion)
    state = rows_of(generation.inversion->state, int64_t(first), int64_t(images.size()));
  else
    state.latents = start_noise(generation, images);
  done.start = state.latents;
  InvertOptions options{.verify = Verify::off};
  options.arrange = [&](GuidedBatch& batch) { words.attach(batch); };
  done.state =
      regenerate_latents(generation, guidances, images, std::move(state), options, cost, observer);
  done.samples = float_latents(done.state.latents).to(at::kFloat);
  return done;
}

/// With --low-memory weights move, and recordings don't follow. Runs that must come back to the bit
/// do without: whether a recording rounds as its original is CUDA's affair.
std::shared_ptr<EvaluationGraphs> graphs_for(const Generation& generation) {
  if (!generation.request.graphs || generation.request.low_memory) return nullptr;
  const Recorder recorder = graph_recorder(generation.device);
  return recorder ? std::make_shared<EvaluationGraphs>(recorder) : nullptr;
}

void tell_problem(const EvaluationGraphs& graphs) {
  if (!graphs.problem().empty())
    std::fprintf(
        stderr,
        "--graphs: recording an evaluation failed, so kernels are launched one by one: %s\n",
        graphs.problem().c_str());
}

void require_finite(const Tensor& samples, const GenerateRequest& request) {
  if (samples.isfinite().all().item<bool>()) return;
  throw Error(
      "unet: gave values that aren't finite with --dtype " + request.dtype + ", expected numbers." +
      (request.dtype == "float32" ? " Lower the guidance scale." : " Use --dtype float32."));
}

/// Where processes share evaluations the first one decodes. samples: computed, as require_finite
/// sees to.
void decode(const Generation& generation, DoneImages& done) {
  if (!generation.together || generation.together->first()) {
    use_vae(generation);
    done.pixels = to_pixels(generation, done.samples);
  }
  done.samples = done.samples.to(at::kCPU);
}

}  // namespace

GuidanceCost run_images(const Generation& generation, std::span<ChosenGuidance> guidances,
                        std::span<const ImageSpec> images, int64_t batch, Progress& progress,
                        const ImageSink& sink, const Observer& watch) {
  const c10::InferenceMode inference;
  GuidanceCost cost;
  const auto graphs = graphs_for(generation);
  const auto hand_over = [&](size_t first, DoneImages done) {
    const c10::InferenceMode on_this_thread;
    decode(generation, done);
    sink(first, done);
  };
  std::optional<bool> beside;  // decided once the first batch has taken its memory
  Behind decoding;
  for (size_t first = 0; first < images.size(); first += batch) {
    const auto part = images.subspan(first, std::min<size_t>(batch, images.size() - first));
    const WordRecorder words(generation, part);
    const Observer observer = [&](const StepReport& report) {
      progress.advance(int64_t(part.size()));
      if (watch) watch(report);
    };
    DoneImages done;
    if (generation.inversion || generation.keeps_state)
      done = run_reversibly(generation, guidances, part, first, cost, words, observer);
    else
      done = run_batch(generation, guidances, part, graphs, cost, words, observer);
    require_finite(done.samples, generation.request);
    done.attention = words.attention();
    done.effects = words.effects();
    if (!beside) beside = std::ssize(images) > batch && decodes_beside(generation, batch);
    if (*beside)
      decoding.run([&generation, &hand_over, first, done] {
        on_own_stream(generation.device, [&] { hand_over(first, done); });
      });
    else
      hand_over(first, done);
  }
  decoding.finish();
  if (graphs) tell_problem(*graphs);
  return cost;
}

}  // namespace tiller
