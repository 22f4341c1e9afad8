#pragma once
#include <string>

namespace tiller {

struct LoraName {
  std::string part, module;  ///< As in Lora.
  std::string path;          ///< The module as the file names it in the part, with dots.
  std::string factor;        ///< As in LoraFactors, or alpha, dora_scale, lora_magnitude_vector.
};

/// What the name of a tensor in a LoRA file says. Throws Error naming `file` when it is of another
/// adapter or unknown.
LoraName parse_lora_name(const std::string& name, const std::string& file);

/// The name with '_' for each '.'.
std::string with_underscores(std::string name);

}  // namespace tiller
