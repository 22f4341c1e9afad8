#pragma once
#include "guidance/edit_controls.h"
#include "guidance/word_maps.h"
#include "tools/inverting.h"

namespace tiller {

/// What is to change, beside the request that the image is inverted with. Empty: as the source's.
struct EditRequest {
  std::optional<std::string> prompt;     ///< Of models that read text.
  std::string label;                     ///< Class by name or index.
  std::string model;                     ///< Another model to regenerate with.
  std::vector<std::string> guidances;    ///< To regenerate with.
  std::optional<double> from;            ///< Share of the steps; unset: 1 with a control, else 0.8.
  std::string control;                   ///< "p2p:cross=0.8"; empty: none.
  std::vector<std::string> words;        ///< "WORD=WEIGHT", for p2p.
  std::string mask;                      ///< File, white where the image may change; empty: none.
  std::vector<std::string> blend_words;  ///< Where these lie the image may change.
  double blend_threshold = 0.3;
  bool reconstruct = true;  ///< Also run the way back under the source, where the edit's run has
                            ///< no source beside it.
};

/// An edit made ready. Guidances refer to the models: it stays where it is.
struct Editing {
  EditRequest request;
  Generation source;
  std::optional<Generation> target;  ///< Of another model.
  std::vector<ChosenGuidance> guidances;
  std::optional<std::vector<ChosenGuidance>> edit_guidances;
  std::optional<ChosenEditControl> control;
  Tensor region;                  ///< Bool (H, W) of latents that may change; undefined: all may.
  std::vector<WordTokens> words;  ///< Words that say where, in the source's and the edit's prompt.
  ImageSpec before, after;
  int until = 0;  ///< Level at which the inversion stops.

  /// Whether the source is regenerated in the edit's batch.
  bool paired() const { return control || region.defined() || !words.empty(); }
  const Generation& regenerates() const { return target ? *target : source; }
  std::span<ChosenGuidance> regenerating_guidances() {
    return edit_guidances ? *edit_guidances : guidances;
  }
};

/// Loads the models and checks both requests. `request` has one prompt or class, the source's, and
/// the image's size. `mask`: (3, H, W) uint8 of that size; undefined: none. Throws UsageError or
/// Error.
std::unique_ptr<Editing> prepare_editing(GenerateRequest request, EditRequest, const Tensor& mask);

/// Another edit by the same models, sampler and guidances, without --edit-model. `before`: what the
/// image shows. Throws as prepare_editing does.
void change_edit(Editing&, ImageSpec before, EditRequest, const Tensor& mask);

/// Latents (1, C, H, W).
struct EditedLatents {
  Tensor start;          ///< Of the image, as they are stored.
  Tensor reconstructed;  ///< The same after there and back; undefined: not asked for.
  Tensor edited;
  std::optional<double> blend_share;  ///< Of the latents that might change; none: without a blend.
  GuidanceCost cost;
};

/// Steps of all the runs that edit_latents makes, times the images in each.
int64_t step_count(const Editing&);

/// Inverts latents, float32 (1, C, H, W), and regenerates them changed. Calls `advance` after every
/// step with the number of its images.
EditedLatents edit_latents(Editing&, const Tensor& latents, Verify,
                           const std::function<void(int64_t)>& advance);

}  // namespace tiller
