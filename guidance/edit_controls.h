#pragma once
#include <memory>

#include "guidance/registry.h"
#include "guidance/token_map.h"

namespace tiller {

/// What a control is made for.
struct EditControlContext {
  std::vector<Site> sites;  ///< Chosen by the option `layers`; empty where there is no such option.
  int up_blocks = 0;        ///< Network::up_blocks.
  std::vector<PromptPair> prompts;  ///< One a pair of images; empty: the model reads no text.
};

/// A control as the command line and `tiller list` know it.
struct EditControlEntry {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::vector<Option> options;
  bool needs_text = false;
  /// Where it acts by default, as a pattern for select_sites; null: it has no option `layers`.
  std::string (*default_layers)(const std::vector<Site>&) = nullptr;
  std::shared_ptr<EditControl> (*make)(const Options&, EditControlContext) = nullptr;
};

/// All controls, in the order in which they are listed.
const std::vector<EditControlEntry>& edit_controls();

/// A control as chosen.
struct ChosenEditControl {
  std::string text;  ///< As written, "p2p:cross=0.6".
  const EditControlEntry* entry = nullptr;
  std::vector<std::string> sites;  ///< Paths of the sites chosen.
  std::shared_ptr<EditControl> control;
};

/// Reads "NAME[:key=value,...]". Throws UsageError on an unknown name, option or layer, and where
/// the model lacks what the control needs.
ChosenEditControl choose_edit_control(const std::string& text, const Model&,
                                      std::vector<PromptPair> prompts);

/// The pattern of all sites from `order` on: "mid+u0-8".
std::string sites_from(const std::vector<Site>&, size_t order);

}  // namespace tiller
