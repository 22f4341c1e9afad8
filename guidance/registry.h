#pragma once
#include <functional>
#include <limits>
#include <memory>

#include "guidance/guidance.h"
#include "io/options.h"
#include "models/model.h"

namespace tiller {

/// cfg's image_scale where none is given, of models that edit images: their authors'.
inline constexpr double usual_image_scale = 1.5;

/// Loads a second model (AutoGuidance) by the path that the user wrote.
using ModelLoader = std::function<Model(const fs::path&)>;

/// What a guidance is made for.
struct GuidanceContext {
  const Model& model;
  const ModelLoader& load;
  std::vector<Site> sites;  ///< Chosen by the option `layers`; empty where there is no such option.
};

/// A guidance as the command line and `tiller list` know it.
struct GuidanceEntry {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::vector<Option> options;
  /// Whether the model must know an unconditional branch (a null label or a negative prompt).
  bool needs_negative = false;
  /// Whether the model must read text, with a prompt to the negative side.
  bool needs_text = false;
  /// Whether it reads the empty prompt's conditioning too.
  bool needs_empty = false;
  /// Whether it chooses the noise that a sampler leaves in: only for samplers that let it.
  bool renoises = false;
  /// Of guidances of one family one at most may act at a step: "cfg" for all that contain
  /// classifier-free guidance. The family's namesake may come twice: differences add up.
  std::string family = {};
  /// For an option `layers` without a default: where it acts in such a network, as a pattern for
  /// select_sites.
  std::string (*default_layers)(const std::vector<Site>&) = nullptr;
  std::unique_ptr<Guidance> (*make)(const Options&, GuidanceContext) = nullptr;
};

/// All guidances, in the order in which they are listed. Each understands `from`, `to`,
/// `sigma_from` and `sigma_to` too.
const std::vector<GuidanceEntry>& guidances();

/// A guidance as chosen, limited to floor(from * steps) <= step < floor(to * steps) and to
/// sigma_to < sigma / alpha <= sigma_from.
struct ChosenGuidance {
  std::string text;  ///< As written, "tpg:scale=3".
  const GuidanceEntry* entry = nullptr;
  double from = 0, to = 1;
  double sigma_from = std::numeric_limits<double>::infinity(), sigma_to = 0;
  std::vector<std::string> sites;  ///< Paths of the sites chosen, for --json and the recipe.
  std::unique_ptr<Guidance> guidance;
};

/// Whether one of these guidances needs the conditioning of an empty prompt. Throws UsageError on
/// an unknown name.
bool need_empty_prompt(const std::vector<std::string>& texts);

/// Reads "cfg:scale=2 + tpg:scale=3,layers=mid" (each of `texts` may hold several joined by " + ");
/// "none" adds nothing. A name may come twice: the differences add up. Throws UsageError on an
/// unknown name, option or layer, when a guidance needs an unconditional branch or text that the
/// model lacks, and on guidances that exclude each other at the same steps. The model must outlive
/// what is chosen. load: by default load_model with the model's own type and device.
std::vector<ChosenGuidance> choose_guidances(const std::vector<std::string>& texts, const Model&,
                                             const ModelLoader& load = {});

}  // namespace tiller
