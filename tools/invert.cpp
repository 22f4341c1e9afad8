#include <ATen/ATen.h>

#include <chrono>
#include <iostream>

#include "io/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "metrics/reconstruction.h"
#include "samplers/lattice.h"
#include "tools/decoding.h"
#include "tools/inputs.h"
#include "tools/inversion_file.h"
#include "tools/notes.h"
#include "tools/outputs.h"
#include "tools/source_image.h"
#include "tools/together.h"
#include "training/refine_latent.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

/// All of a run that its report needs.
struct InvertRun {
  Generation generation;
  std::vector<ChosenGuidance> guidances;
  fs::path output, latents;
  Tensor pixels;         ///< (B, 3, H, W) uint8; undefined: from an inversion's file.
  Tensor start;          ///< Latents that the run begins with, as they are stored.
  InversionState state;  ///< Where it ends.
  GuidanceCost cost;
  std::optional<bool> came_back;  ///< Whether from a file the noise that it promises; unset: none.
  std::optional<bool> exact;      ///< Whether the way back gave the start's bits; unset: not asked.
  double largest_error = 0;       ///< Of that way.
  std::optional<double> decoded_mse;  ///< Of the VAE alone, on 0 to 1; unset: there is none.
  double seconds = 0;
};

Tensor read_pixels(const std::vector<std::string>& files, const ImageSize& size) {
  std::vector<Tensor> images;
  for (const auto& file : files) {
    Tensor image = read_source_image(file, size);
    if (!images.empty() && image.sizes() != images.front().sizes())
      throw UsageError("--image: got " + file + " of " +
                       to_text(ImageSize{image.size(1), image.size(2)}) + " pixels, expected " +
                       to_text(ImageSize{images.front().size(1), images.front().size(2)}) +
                       " like the first. --size WxH scales and crops them.");
    images.push_back(image);
  }
  return at::stack(images);
}

/// An inversion is of one row.
void refuse_compare(const GenerateRequest& request) {
  if (!request.compare.empty())
    throw UsageError("--compare: got it with invert, expected --guidance.");
}

GenerateRequest request_of(const Flags& flags, const Tensor& pixels) {
  GenerateRequest request;
  request.sampler = "bdia";
  request.steps = 50;
  apply_flags(flags, request);
  refuse_compare(request);
  request.count = pixels.size(0);
  if (std::ssize(request.text.prompts) > request.count)
    throw UsageError("--prompt: got " + std::to_string(request.text.prompts.size()) +
                     ", expected no more than the images, which are " +
                     std::to_string(request.count) + ".");
  if (std::ssize(request.classes) > request.count)
    throw UsageError("--class: got " + std::to_string(request.classes.size()) +
                     ", expected no more than the images, which are " +
                     std::to_string(request.count) + ".");
  request.size = {pixels.size(2), pixels.size(3)};
  request.size_of_image = !flags.has("size");
  return request;
}

GenerateRequest request_from_file(const Flags& flags) {
  GenerateRequest request = read_inversion(flags.text("inversion")).request;
  apply_flags(flags, request);
  refuse_compare(request);
  request.inversion = flags.text("inversion");
  return request;
}

/// From what `generate --save-inversion` wrote.
void begin_with_file(InvertRun& run, const Flags& flags) {
  if (flags.has("refine-latent"))
    throw UsageError("--refine-latent: got --inversion too, expected --image, whose latent it is.");
  run.generation = prepare(request_from_file(flags));
  const InversionState& state = run.generation.inversion->state;
  if (state.level != run.generation.trajectory.steps())
    throw UsageError(
        "--inversion: got noise, expected an image that `tiller generate "
        "--save-inversion` made. `tiller generate --inversion` leads back.");
  run.state = state;
  run.start = state.latents;
}

void begin_with_images(InvertRun& run, const Flags& flags) {
  GenerateRequest sizes;
  apply_flags(flags, sizes);
  run.pixels = read_pixels(flags.all("image"), sizes.size);
  run.generation = prepare(request_of(flags, run.pixels));
  const Model& model = run.generation.model;
  if (model.classes && !flags.has("class"))
    throw UsageError("--class: got none of the model's " + std::to_string(model.classes) +
                     ", expected what the image shows.");
  require_source_size(flags, run.generation);
  require_ascent(run.generation, run.generation.trajectory.steps());
}

void require_own_files(const InvertRun& run, const Flags& flags) {
  NamedFiles read = {{"--inversion", flags.text("inversion")}};
  for (const auto& image : flags.all("image")) read.emplace_back("--image", image);
  require_apart({{"--output", run.output}, {"--save-latents", run.latents}}, read);
}

void begin(InvertRun& run, const Flags& flags) {
  const bool images = flags.has("image");
  if (images == flags.has("inversion"))
    throw UsageError(std::string("--image: got ") + (images ? "--inversion too" : "none") +
                     ", expected the image to invert.");
  require_own_files(run, flags);
  if (images)
    begin_with_images(run, flags);
  else
    begin_with_file(run, flags);
  if (!run.generation.parts.valid())
    run.generation.parts = begin_part_hashes(run.generation.request);
}

void encode(InvertRun& run, const Flags& flags) {
  if (!run.pixels.defined()) return;
  const Generation& generation = run.generation;
  Tensor latents = latents_of(generation, run.pixels);
  if (generation.model.vae) {
    const int64_t steps = flags.integer("refine-latent", 0, 100'000, 0);
    if (steps > 0) {
      Progress progress("refining", steps, "steps");
      latents = refine_latent(*generation.model.vae, latents, from_bytes(run.pixels), int(steps),
                              [&] { progress.advance(1); });
      progress.complete();
    }
    const Tensor decoded = to_pixels(generation, latents);
    const Tensor difference = (decoded.to(at::kDouble) - run.pixels.to(at::kDouble)) / 255;
    run.decoded_mse = difference.square().mean().item<double>();
  } else if (flags.has("refine-latent")) {
    throw UsageError("--refine-latent: got it for a model of pixels, expected one with a VAE.");
  }
  run.start = latents.to(at::kCPU);
}

template <class Step>
InversionState in_batches(InvertRun& run, const InversionState& whole, const Step& step) {
  const std::span<const ImageSpec> images = run.generation.images;
  const int64_t batch = run.generation.request.batch, count = int64_t(images.size());
  std::vector<InversionState> parts;
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t rows = std::min(batch, count - first);
    parts.push_back(step(images.subspan(first, rows), rows_of(whole, first, rows)));
    for (Tensor InversionState::*part : {&InversionState::latents, &InversionState::partner,
                                         &InversionState::side, &InversionState::record})
      if ((parts.back().*part).defined()) parts.back().*part = (parts.back().*part).to(at::kCPU);
  }
  return joined(std::move(parts));
}

void ascend(InvertRun& run, const InvertOptions& options) {
  const Generation& generation = run.generation;
  if (!run.state.latents.defined())
    run.state = {.level = generation.trajectory.steps(), .latents = run.start};
  Progress progress("inverting", int64_t(generation.images.size()) * generation.trajectory.steps(),
                    "steps");
  run.state = in_batches(run, run.state, [&](auto images, InversionState state) {
    const auto watch = [&](const StepReport&) { progress.advance(int64_t(images.size())); };
    return invert_latents(generation, run.guidances, images, std::move(state), options, run.cost,
                          watch);
  });
  progress.complete();
  run.start = as_stored(run.start, run.state);
  run.came_back = came_back(generation, run.state.latents);
}

/// The way back at once.
void check(InvertRun& run, const InvertOptions& options) {
  const Generation& generation = run.generation;
  Progress progress("checking", int64_t(generation.images.size()) * generation.trajectory.steps(),
                    "steps");
  GuidanceCost cost;
  const auto back = in_batches(run, run.state, [&](auto images, InversionState state) {
    const auto watch = [&](const StepReport&) { progress.advance(int64_t(images.size())); };
    return regenerate_latents(generation, run.guidances, images, std::move(state), options, cost,
                              watch);
  });
  progress.complete();
  run.exact = at::equal(as_stored(back.latents, run.state), run.start);
  run.largest_error = max_error(float_latents(back.latents), float_latents(run.start));
}

Json report(const InvertRun& run, const NoiseMoments& noise) {
  const Generation& generation = run.generation;
  Json json = {{"file", run.output.string()},
               {"images", generation.images.size()},
               {"model", {{"file", generation.model.file}, {"hash", generation.model.hash.get()}}},
               {"sampler",
                {{"name", generation.sampler->name},
                 {"options", generation.sampler_options.values},
                 {"steps", generation.trajectory.steps()}}},
               {"guidance", describe(run.guidances)},
               {"noise", {{"mean", noise.mean}, {"std", noise.std}, {"kurtosis", noise.kurtosis}}},
               {"evaluations", run.cost.evaluations},
               {"seconds", run.seconds}};
  if (run.came_back) json["exact"] = *run.came_back;
  if (run.exact) json["latent_error"] = {{"exact", *run.exact}, {"largest", run.largest_error}};
  if (run.decoded_mse) json["decoder_psnr"] = -10 * std::log10(*run.decoded_mse);
  return json;
}

void print_result(const InvertRun& run, const NoiseMoments& noise) {
  std::fprintf(stderr, "%zu %s in %.1f s: %s\n", run.generation.images.size(),
               run.generation.images.size() == 1 ? "image" : "images", run.seconds,
               run.output.c_str());
  std::fprintf(stderr,
               "The noise has mean %.3f, std %.3f and kurtosis %.2f (a normal's: 0, 1, 3).\n",
               noise.mean, noise.std, noise.kurtosis);
  if (run.came_back.value_or(false))
    std::fprintf(stderr, "The noise that the image was made from came back to the bit.\n");
  if (run.exact && *run.exact)
    std::fprintf(stderr, "The way back gives the latents to the bit.\n");
  else if (run.exact)
    std::fprintf(stderr, "The way back gives the latents but for %.2g at most.\n",
                 run.largest_error);
  if (run.decoded_mse)
    std::fprintf(stderr, "The VAE alone gives the image at %.1f dB.\n",
                 -10 * std::log10(*run.decoded_mse));
  if (noise.std > 2)
    std::fprintf(stderr,
                 "That is no noise to edit from: take a lower guidance scale or fewer steps%s.\n",
                 run.generation.sampler->name.starts_with("bdia") ? ", or gamma nearer to 1" : "");
}

/// Said even where nothing else is.
void warn_of_other_settings(const InvertRun& run) {
  if (!run.came_back.value_or(true))
    std::fprintf(stderr,
                 "The noise isn't the one that the image was made from: the file was changed, or "
                 "another machine, device or LibTorch rounds otherwise.\n");
}

int invert(const Flags& flags) {
  require_one_process("invert");
  Progress::set_quiet(flags.has("quiet") || flags.has("json"));
  const auto start = Clock::now();
  InvertRun run;
  run.output = flags.text("output", "inversion.safetensors");
  run.latents = flags.text("save-latents");
  require_tensor_file("--output", run.output);
  if (!run.latents.empty()) require_tensor_file("--save-latents", run.latents);
  const InvertOptions options{.verify = verify_from(flags)};
  begin(run, flags);
  run.guidances = choose_guidances(run.generation.request.guidances, run.generation.model);
  require_invertible(run.generation, run.guidances);
  note_idle_options(flags, run.generation);
  note_unread_negative(flags, {run.guidances});
  encode(run, flags);
  ascend(run, options);
  if (flags.has("check")) check(run, {.verify = Verify::off});
  write_inversion(run.output, run.generation, run.state, run.start);
  const bool from_image = run.pixels.defined();
  if (!run.latents.empty())
    save_safetensors(run.latents,
                     {{"latents", float_latents(from_image ? run.start : run.state.latents)}},
                     {{"format", "pt"}});
  run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const NoiseMoments noise = noise_moments(unit_noise(run.generation, run.state.latents));
  if (flags.has("json"))
    std::cout << indented(report(run, noise)) << "\n";
  else if (!flags.has("quiet"))
    print_result(run, noise);
  warn_of_other_settings(run);
  return 0;
}

std::vector<Flag> invert_flags() {
  std::vector<Flag> flags = {
      {"image", "FILE", "the image to turn into noise; repeats", Flag::common, true},
      {"inversion", "FILE", "instead: what `tiller generate --save-inversion` wrote", Flag::rare}};
  const std::vector<Flag> own_words = {
      {"class", "NAME[,NAME...]", "what the images show, by name or index, in turn", Flag::common,
       true},
      {"prompt", "TEXT", "what the image shows; repeats, in turn", Flag::common, true},
      {"seed", "N", "of guidances and samplers that draw numbers; default 0"},
      {"size", "N|WxH", "in pixels, scales and crops; default: the image's"},
      {"steps", "N", "default 50"},
      {"sampler", "NAME[:key=value,...]", "one with an inverse; default bdia"}};
  for (const auto& flag : request_flags_but(
           {"count", "compare", "cache", "init-image", "mask", "soft-mask", "strength"}, own_words))
    flags.push_back(flag);
  const std::vector<Flag> own = {
      {"output", "FILE", "the inversion; default inversion.safetensors"},
      {"save-latents", "FILE", "the image's latents (with --inversion: the noise), as `latents`"},
      {"check", "", "run the way back at once, and say how exact it is"},
      {"verify", "off|first|all", "evaluate twice and compare the bits; default first"},
      {"refine-latent", "N", "steps that bring the decoded latent nearer to the image"},
      {"json", "", "one JSON object on standard output"},
      {"quiet", "", "no progress"}};
  flags.insert(flags.end(), own.begin(), own.end());
  return flags;
}

}  // namespace

Command invert_command() {
  return {.name = "invert",
          .description = "Turns images into the noise that generates them, to the bit.",
          .operand = "",
          .flags = invert_flags(),
          .examples = {"tiller invert --image frog.png --class frog --output frog.safetensors",
                       "tiller invert --model sd15/ --image cat.png --prompt 'a cat' --sampler "
                       "bdia:gamma=0.96"},
          .run = invert};
}

}  // namespace tiller
