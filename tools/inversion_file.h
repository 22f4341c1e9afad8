#pragma once
#include "tools/inverting.h"

namespace tiller {

/// One safetensors file: states of images on their way, and all that it takes to go on.
struct InversionFile {
  static constexpr const char* format = "tiller-inversion-1";
  /// What messages add where another prompt or class is asked for.
  static constexpr const char* edit_hint = " `tiller edit` changes what an image shows.";
  GenerateRequest request;
  std::string model_file, model_hash;
  std::map<std::string, std::string> inputs;  ///< As Generation has them, and
  std::map<std::string, std::string> parts;   ///< the model's; older files have none.
  std::vector<ImageSpec> images;              ///< One a row.
  InversionState state;                       ///< On the CPU.
  Tensor levels;  ///< (N + 1, 3) float64: alpha, sigma and timestep of the trajectory.
  std::string
      target;  ///< SHA-256 of the latents that the way back leads to; "": none of exactness.
};

/// Throws Error when it can't be written. Generation::parts must have been begun.
void write_inversion(const fs::path&, const Generation&, const InversionState&,
                     const Tensor& target);

/// Throws Error when the file isn't one of Tiller's, or is damaged.
InversionFile read_inversion(const fs::path&);

/// Throws Error, naming what differs, unless the request asks for what the file was made with.
void require_same_request(const GenerateRequest&, const InversionFile&, const fs::path&);
/// The same for the model and its inputs.
void require_same_model(Generation&, const InversionFile&, const fs::path&);
/// The same for the trajectory and what the sampler and the network need.
void require_same_run(const Generation&, const InversionFile&, const fs::path&);

/// Whether the way from such states to the other end is exact.
bool is_exact_from(const Generation&, const InversionState&);
/// Whether a run from the generation's inversion file ended at the latents that the file says;
/// unset: it says none.
std::optional<bool> came_back(const Generation&, const Tensor& latents);

/// SHA-256 of a tensor's numbers as they are stored.
std::string tensor_hash(const Tensor&);

}  // namespace tiller
