#pragma once
#include "tools/editing.h"

namespace tiller {

/// A way to edit, as `evaluate --task editing` takes it: "SAMPLER[ + CONTROL][ + blend]".
struct EditMethod {
  /// What bounds the changes.
  enum class Blend { none, words, mask };
  std::string text;  ///< As written.
  std::string sampler, control;
  Blend blend = Blend::none;
  double blend_threshold = 0.3;
};

/// Takes apart what the command line says. Throws UsageError.
EditMethod edit_method(const std::string& text);

/// Those that are compared when none is named, for models of text or others.
std::vector<std::string> usual_edit_methods(bool text);

}  // namespace tiller
