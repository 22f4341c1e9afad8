#pragma once
#include "models/model.h"
#include "tools/request.h"

namespace tiller {

/// A file as a flag names it, and what stands behind its last colon: "fox.safetensors:0.7".
struct AdapterFile {
  fs::path file;
  std::string rest;  ///< Empty where the whole text is a file that is there.
};
AdapterFile adapter_file(const std::string& text);

/// Merges the request's LoRAs into the UNet and the text encoders, and lets these know its textual
/// inversions' tokens. Throws Error or UsageError where one doesn't belong to the model.
void add_adapters(Model&, const AdapterRequest&);

}  // namespace tiller
