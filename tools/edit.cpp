#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "io/error.h"
#include "io/image.h"
#include "io/json.h"
#include "metrics/reconstruction.h"
#include "samplers/lattice.h"
#include "tools/decoding.h"
#include "tools/edit_checks.h"
#include "tools/edit_report.h"
#include "tools/init_image.h"
#include "tools/notes.h"
#include "tools/residence.h"
#include "tools/source_image.h"
#include "tools/table.h"
#include "tools/together.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

Tensor read_mask(const std::string& file, const Tensor& image, const ImageSize& size) {
  if (file.empty()) return {};
  const Tensor mask = read_image(file);
  const ImageSize own{mask.size(1), mask.size(2)}, expected{image.size(1), image.size(2)};
  if (own != expected)
    throw UsageError("--blend-mask: got " + file + " of " + to_text(own) +
                     " pixels, expected the image's " + to_text(expected) + ".");
  return size == ImageSize{} ? mask : covering(mask, size)[0];
}

EditRequest edit_from(const Flags& flags) {
  EditRequest edit;
  if (flags.has("edit-prompt")) edit.prompt = flags.text("edit-prompt");
  edit.label = flags.text("edit-class");
  edit.model = flags.text("edit-model");
  edit.guidances = flags.all("edit-guidance");
  if (flags.has("edit-from")) edit.from = flags.number("edit-from", 0, 1, 1);
  edit.control = flags.text("edit-control");
  edit.words = flags.all("edit-word");
  edit.mask = flags.text("blend-mask");
  edit.blend_words = flags.all("blend-word");
  if (flags.has("blend-threshold") && edit.blend_words.empty())
    throw UsageError("--blend-threshold: got no --blend-word with it, expected one.");
  edit.blend_threshold = flags.number("blend-threshold", 0, 1, edit.blend_threshold);
  edit.reconstruct = flags.choice("reconstruct", {"on", "off"}, "on") == "on";
  return edit;
}

GenerateRequest source_request(const Flags& flags) {
  GenerateRequest request;
  request.sampler = "bdia";
  request.steps = 50;
  check_control_nets(flags.all("control"));
  apply_flags(flags, request);
  return request;
}

EditOutcome outcome_of(Editing& editing, const Tensor& pixels, Verify verify) {
  const at::NoGradGuard no_grad;
  const auto start = Clock::now();
  const Tensor latents = latents_of(editing.source, pixels.unsqueeze(0));
  Progress progress("editing", step_count(editing), "steps");
  const EditedLatents result =
      edit_latents(editing, latents, verify, [&](int64_t images) { progress.advance(images); });
  progress.complete();
  const auto drawn = [](const Generation& generation, const Tensor& z) {
    use_vae(generation);
    return to_pixels(generation, float_latents(z).to(at::kFloat))[0];
  };
  EditOutcome outcome{.before = pixels, .blend_share = result.blend_share, .cost = result.cost};
  outcome.after = drawn(editing.regenerates(), result.edited);
  if (result.reconstructed.defined()) {
    outcome.reconstruction = drawn(editing.source, result.reconstructed);
    outcome.exact = at::equal(result.reconstructed, result.start);
    outcome.latent_error =
        max_error(float_latents(result.reconstructed), float_latents(result.start));
  }
  outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return outcome;
}

/// words: the region is where words lie.
void print_result(const EditPaths& paths, const EditOutcome& outcome, bool words) {
  std::fprintf(stderr, "Edited in %.1f s: %s, %s\n", outcome.seconds, paths.edited.c_str(),
               paths.page.c_str());
  std::fprintf(stderr, "Changed %.0f%% of the pixels.\n", 100 * changed_share(outcome));
  if (outcome.blend_share == 1.0)
    std::fprintf(stderr, "Blending bounded nothing: the region is all of the image.%s\n",
                 words ? " A higher --blend-threshold makes it smaller." : "");
  if (outcome.blend_share == 0.0)
    std::fprintf(stderr, "Blending left nothing to change: the region is empty.\n");
  if (!outcome.reconstruction.defined()) return;
  const double psnr = figures_of(outcome).psnr;
  const std::string pixels = std::isfinite(psnr)
                                 ? "the image comes back at " + shown_number(psnr, "%.1f") + " dB"
                                 : std::string("the same pixels come back");
  std::fprintf(stderr, "Without the change %s%s.\n", pixels.c_str(),
               outcome.exact ? ", its latents to the bit" : "");
}

int edit(const Flags& flags) {
  require_one_process("edit");
  Progress::set_quiet(flags.has("quiet") || flags.has("json"));
  if (!flags.has("image")) throw UsageError("--image: got none, expected the image to change.");
  GenerateRequest request = source_request(flags);
  const EditRequest changes = edit_from(flags);
  const Tensor pixels = read_source_image(flags.text("image"), request.size);
  const Tensor mask = read_mask(changes.mask, read_image(flags.text("image")), request.size);
  request.size = {pixels.size(1), pixels.size(2)};
  request.size_of_image = !flags.has("size");
  const EditPaths paths = edit_paths(choose_outputs(flags, {}, 1));
  require_apart({{"--output", paths.edited}, {"--output", paths.compare}, {"--output", paths.page}},
                {{"--image", flags.text("image")}, {"--blend-mask", changes.mask}});
  const auto editing = prepare_editing(std::move(request), changes, mask);
  require_source_size(flags, editing->source);
  note_idle_options(flags, editing->source);
  if (const auto note = idle_reconstruction(changes);
      !note.empty() && !flags.has("json") && !flags.has("quiet"))
    std::cerr << note << "\n";
  note_unread_negative(flags, {editing->guidances, editing->regenerating_guidances()});
  const EditOutcome outcome = outcome_of(*editing, pixels, verify_from(flags));
  write_edit(paths, *editing, outcome);
  if (flags.has("json"))
    std::cout << indented(edit_json(paths, *editing, outcome)) << "\n";
  else if (!flags.has("quiet"))
    print_result(paths, outcome, !editing->words.empty());
  return 0;
}

std::vector<Flag> edit_flags() {
  std::vector<Flag> flags = {
      {"image", "FILE", "the image to change"},
      {"edit-prompt", "TEXT", "what it is to show; --prompt says what it shows"},
      {"edit-class", "NAME", "what it is to show; --class says what it shows"},
      {"edit-model", "DIR|FILE", "another model to draw the edit with"},
      {"edit-guidance", "NAME[:key=value,...]", "to draw the edit with; default: --guidance",
       Flag::rare, true},
      {"edit-from", "X", "share of the steps undone; default 0.8, with a control 1"},
      {"edit-control", "NAME[:key=value,...]", "what stays; `tiller list edit-controls`"},
      {"edit-word", "WORD=WEIGHT", "repeats: how much attention p2p gives a word", Flag::common,
       true},
      {"blend-mask", "FILE", "change the image only where this one is white"},
      {"blend-word", "WORD", "repeats: change it only where this word of either prompt lies",
       Flag::common, true},
      {"blend-threshold", "X", "share of the word's greatest attention; default 0.3", Flag::rare}};
  const std::vector<Flag> own_words = {
      {"class", "NAME", "what the image shows, by name or index"},
      {"prompt", "TEXT", "what the image shows"},
      {"seed", "N", "of guidances and samplers that draw numbers; default 0"},
      {"size", "N|WxH", "in pixels, scales and crops; default: the image's"},
      {"steps", "N", "of the whole schedule; default 50"},
      {"sampler", "NAME[:key=value,...]", "one with an inverse; default bdia"}};
  for (Flag flag : request_flags_but({"count", "compare", "cache", "batch", "prompt-file",
                                      "init-image", "mask", "soft-mask", "strength"},
                                     own_words)) {
    if (flag.name.starts_with("control") || flag.name == "ip-adapter") flag.use = Flag::rare;
    flags.push_back(flag);
  }
  const std::vector<Flag> own = {
      {"output", "FILE.png|DIR", "the edit, beside it a comparison and a page; default tiller.png"},
      {"reconstruct", "on|off", "also draw the image unchanged; default on", Flag::rare},
      {"verify", "off|first|all", "evaluate twice and compare the bits; default first", Flag::rare},
      {"json", "", "one JSON object on standard output"},
      {"quiet", "", "no progress"}};
  flags.insert(flags.end(), own.begin(), own.end());
  return flags;
}

}  // namespace

Command edit_command() {
  return {.name = "edit",
          .description = "Changes an image by changing its prompt or class.",
          .operand = "",
          .flags = edit_flags(),
          .examples = {"tiller edit --image cat.png --class cat --edit-class dog",
                       "tiller edit --model sd/ --image cat.png --prompt 'a cat' --edit-prompt "
                       "'a fox' --edit-control p2p"},
          .run = edit};
}

}  // namespace tiller
