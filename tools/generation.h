#pragma once
#include "guidance/denoiser.h"
#include "io/progress.h"
#include "models/prompt_schedule.h"
#include "samplers/registry.h"
#include "tools/controls.h"
#include "tools/init_image.h"
#include "tools/request.h"

namespace tiller {

struct InversionFile;

/// The states of a run's prompts.
struct PromptTable {
  std::map<std::string, PromptStates> positive;  ///< At the first step.
  PromptStates negative;                         ///< At the first step.
  PromptStates empty;  ///< Of the empty prompt; undefined: no guidance needs it.
  /// Of prompts that change from step to step, and the states of all of their texts.
  std::map<std::string, PromptSchedule> schedules;
  std::map<std::string, PromptStates> texts;
};

/// A request made ready: the model loaded, names resolved and everything checked.
struct Generation {
  GenerateRequest request;  ///< With what was left open filled in: classes as indices, size, ...
  Model model;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  const Sampler* sampler = nullptr;
  Options sampler_options;
  std::vector<std::string> idle;  ///< Lines on options of the sampler that change nothing.
  NoiseSchedule schedule;
  Trajectory trajectory;
  std::vector<ImageSpec> images;  ///< Image k has seed + k and the k-th class or prompt in turn.
  InitImage init;
  std::shared_ptr<Autoencoder> taesd;  ///< For previews; null: none.
  Controls controls;
  PromptTable prompts;
  std::shared_ptr<const InversionFile> inversion;  ///< What the run goes on from; null: noise.
  ProcessGroup* together = nullptr;  ///< Processes that share evaluations; null: this one has all.
  bool keeps_state = false;          ///< Whether DoneImages are to hold what the way back needs.
  /// Short SHA-256 of every file beside the model that the request names, by its name there.
  std::map<std::string, std::string> inputs;
  /// As begin_part_hashes gives them; not valid: nobody needs them.
  std::shared_future<std::map<std::string, std::string>> parts;

  VaeOptions vae_options() const;
};

/// How many of so many steps are to be taken at once, at least.
using StepsAtOnce = std::function<int64_t(int64_t steps)>;

/// Loads the model and checks the request against it. at_once: what batches and memory are reckoned
/// by; empty: the request alone. Throws UsageError or Error.
Generation prepare(GenerateRequest, const StepsAtOnce& at_once = {});
/// Puts another sampler, "NAME:key=value,...", in the place of the one that the request names.
/// Throws UsageError.
void use_sampler(Generation&, const std::string& sampler);

/// Throws UsageError where a guidance chooses the noise that steps leave and the sampler doesn't
/// let it.
void require_renoising(const Sampler&, const std::vector<ChosenGuidance>&);

/// Height and width of what the network works on.
ImageSize latent_size(const Generation&);

/// The model that comes with Tiller: in weights/ of the source tree, else in
/// ../share/tiller/weights beside the program. Throws Error when there is none.
fs::path default_model();

/// The class's name where the model has one, else "class 3"; "" without a class.
std::string class_label(const Model&, int64_t label);
/// The image's prompt or class.
std::string subject_of(const Model&, const ImageSpec&);

/// Images as they are done, on the CPU.
struct DoneImages {
  Tensor samples;  ///< (B, C, H, W) float32, before any decoding.
  Tensor pixels;   ///< (B, 3, H, W) uint8.
  /// Maps of words, (B, words, H, W) float32 of the samples' size; undefined: not asked for.
  Tensor attention, effects;
  Tensor straightness;  ///< (B) of a flow's paths (samplers/straightness.h); undefined elsewhere.
  /// At the image, from which the run can be inverted; undefined: not kept.
  InversionState state;
  Tensor start;  ///< What the run began with: noise as the first level has it, or a file's latents.
};
/// Is given the images first, first + 1, ...
using ImageSink = std::function<void(size_t first, const DoneImages&)>;

/// Makes images, `batch` at a time; `watch` may be empty. The sink may be called on another thread,
/// a batch after the other, the last one's before this returns. Throws Error when a sample isn't
/// finite.
GuidanceCost run_images(const Generation&, std::span<ChosenGuidance>, std::span<const ImageSpec>,
                        int64_t batch, Progress&, const ImageSink&, const Observer& watch = {});

}  // namespace tiller
