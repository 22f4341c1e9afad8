#pragma once
#include <nlohmann/json.hpp>

#include <set>

#include "samplers/noise.h"
#include "tools/control_request.h"

namespace tiller {
using Json = nlohmann::ordered_json;

/// An image to be made.
struct ImageSpec {
  uint64_t seed = 0;
  int64_t label = -1;  ///< -1: the model knows no classes.
  std::string prompt;  ///< Of text-to-image models.
};

/// Height and width in pixels; 0: not given.
struct ImageSize {
  int64_t height = 0, width = 0;
  bool operator==(const ImageSize&) const = default;
};

/// What text-to-image models read beside the prompts.
struct TextRequest {
  std::vector<std::string> prompts;  ///< In turn.
  std::string negative;
  bool negative_given = false;  ///< SDXL zeroes one that isn't.
  bool plain = false;           ///< No weights, no chunks: as diffusers reads prompts.
  bool scheduled = false;       ///< Prompts may change from step to step (prompt_schedule.h).
  int64_t clip_skip = 0;        ///< Layers of the text encoder left out at its end.
  ImageSize original, target;   ///< SDXL's; not given: the image's own size.
  int64_t crop_top = 0, crop_left = 0;
  double aesthetic_score = 6, negative_aesthetic_score = 2.5;  ///< SDXL's refiner.
};

/// An image to begin with, or to edit.
struct ImageRequest {
  std::string init_image, mask;  ///< Files; empty: none.
  double strength = 0.8;         ///< Share of the steps that are taken.
  bool soft_mask = false;        ///< The mask's gray says for which share of them it changes.
};

/// Words whose maps are written. Effects are branches, so that they decide an image's rounding.
struct WordsRequest {
  std::vector<std::string> maps, effects;
  int64_t effect_every = 5;  ///< Steps from one measurement of the effects to the next.
};

/// Files that take the place of parts of a model or change it, as written; empty: none.
struct AdapterRequest {
  std::string config;                           ///< Folder of diffusers' configs.
  std::string unet;                             ///< In place of the model's.
  std::string vae, taesd;                       ///< Autoencoders.
  std::string prediction_type;                  ///< Empty: the model's.
  std::vector<std::string> loras;               ///< "FILE" or "FILE:WEIGHT".
  std::vector<std::string> textual_inversions;  ///< "FILE" or "FILE:TOKEN".
};

/// The largest numbers that a request takes.
struct RequestLimits {
  static constexpr int64_t images = 1'000'000, steps = 1'000'000, pixels = 1 << 16, threads = 1024,
                           prompt_bytes = 1 << 16;
};

/// Throws Error where a prompt from a file is longer than anyone writes: each 75 tokens are encoded
/// by themselves.
void require_readable(const std::string& prompt, const std::string& where);

/// What to make: everything that decides an image's bytes, and nothing of where files go.
struct GenerateRequest {
  std::string model;  ///< As written; "": the model that comes with Tiller.
  std::vector<std::string>
      classes;                 ///< Names or indices, each also a comma list, in turn; empty: all.
  uint64_t seed = 0;           ///< Image k has seed + k.
  int64_t count = 0;           ///< 0: one for each class named.
  int64_t batch = 0;           ///< 0: by size and device.
  ImageSize size;              ///< Not given: the model's.
  bool size_of_image = false;  ///< Nobody asked for the size: --image has it.
  int64_t steps = 30;
  std::string respacing;  ///< guided-diffusion's; replaces steps when not empty.
  std::string sampler;    ///< Empty: the model's own, or ddim.
  std::vector<std::string> guidances;
  std::vector<std::string> compare;  ///< A grid with one row for each of these guidances.
  int64_t columns = 0;               ///< Of a grid; 0: as the output asks.
  TextRequest text;
  ImageRequest image;
  AdapterRequest adapters;
  WordsRequest words;
  ControlRequest control;
  std::string inversion;           ///< File of `tiller invert` to go on from; empty: none.
  double embedded_guidance = 8.5;  ///< Scale that networks distilled with one (LCM) are told.
  std::string rng = "cpu";         ///< "cpu" or "nv": whose random numbers.
  bool clip_denoised = false;
  bool strict_diffusers = false;
  bool vae_tiling = false;
  bool low_memory = false;
  bool fp8 = false;  ///< The UNet's layers over tokens in 8-bit floats.
  bool share = true;
  bool graphs = true;    ///< On a GPU: evaluations are recorded and replayed.
  std::string cache;     ///< What network evaluations take from those before; empty: nothing.
  std::string parallel;  ///< How steps are solved side by side; empty: one after the other.
  std::string device = "auto", dtype = "auto";
  int64_t threads = 0;  ///< 0: as many as there are cores.
};

/// Flags that change a request, for the help of every subcommand that makes images.
const std::vector<Flag>& request_flags();
/// The same without some, and with `own` in the place of their namesakes.
std::vector<Flag> request_flags_but(const std::set<std::string>& left_out,
                                    const std::vector<Flag>& own);

/// Writes the flags given over `request`. Throws UsageError.
void apply_flags(const Flags&, GenerateRequest& request);

/// "768x512", width first.
std::string to_text(const ImageSize&);

/// Throws UsageError where `rng` is neither.
RandomNumbers random_numbers(const GenerateRequest&);

/// All of a request, for recipes.
Json to_json(const GenerateRequest&);
/// The inverse. Throws Error starting with `where` when a key is missing, of another type or out of
/// range.
GenerateRequest request_from(const Json&, const std::string& where);

}  // namespace tiller
