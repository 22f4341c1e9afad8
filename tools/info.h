#pragma once
#include "models/model.h"
#include "tools/request.h"

namespace tiller {

/// What is the same of a file's tensors and a network's parameters.
struct Contents {
  int64_t tensors = 0, numbers = 0;
  std::map<std::string, int64_t> dtypes;  ///< Numbers of each.
};
Contents contents_of(const NamedTensors&);
/// "860M in 686 tensors, float16".
std::string text_of(const Contents&);
Json contents_json(const Contents&);

/// Prints what a model is. The configs of a folder count for a checkpoint in one file.
void show_model(const fs::path&, const fs::path& configs, bool as_json);

/// Prints what an adapter is, if the file is a LoRA or a textual inversion; false otherwise.
bool show_adapter(const fs::path&, const NamedTensors&, bool as_json);

}  // namespace tiller
