#pragma once
#include "tools/editing.h"

namespace tiller {

/// Throws UsageError where a ControlNet has the name of what edits are controlled by.
void check_control_nets(const std::vector<std::string>& nets);

/// What is said where a reconstruction is to be left out that comes with the edit; else "".
std::string idle_reconstruction(const EditRequest&);

/// What can be said of both requests before a model is there. Throws UsageError.
void check_requests(const GenerateRequest&, const EditRequest&);

/// As prepare, also for what the edit's guidances need.
Generation prepare_source(GenerateRequest, const EditRequest&);

/// Throws UsageError where what needs the source beside the edit meets what it can't stand beside.
void check_pairing(const EditRequest&);

/// Throws UsageError unless one class or prompt was given.
void require_one_image(const Generation&);

/// Throws UsageError unless the second model takes latents of the first at the same noise levels.
void require_fitting(const Generation& source, const Generation& target);

/// A class of the model by name or index. Throws UsageError.
int64_t edited_label(const Model&, const std::string& name);

/// "WORD=WEIGHT" each. Throws UsageError.
std::vector<std::pair<std::string, double>> word_weights(const std::vector<std::string>& texts);

/// Throws UsageError where words that say where to blend have no maps to be found in.
void require_blend_words(const Editing&);

}  // namespace tiller
