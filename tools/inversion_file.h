#pragma once
#include "tools/inverting.h"

namespace tiller {

/// One safetensors file: states of images on their way, and all that it takes to go on.
struct InversionFile {
  static constexpr const char* format = "tiller-inversion-1";
  GenerateRequest request;
  std::string model_file, model_hash;
  std::map<std::string, std::string> inputs;  ///< As Generation has them.
  std::vector<ImageSpec> images;              ///< One a row.
  InversionState state;                       ///< On the CPU.
  Tensor levels;  ///< (N + 1, 3) float64: alpha, sigma and timestep of the trajectory.
  std::string
      target;  ///< SHA-256 of the latents that the way back leads to; "": none of exactness.
};

/// Throws Error when it can't be written.
void write_inversion(const fs::path&, const Generation&, const InversionState&,
                     const Tensor& target);

/// Throws Error when the file isn't one of Tiller's, or is damaged.
InversionFile read_inversion(const fs::path&);

/// Throws Error, naming what differs, unless the request asks for what the file was made with.
void require_same_request(const GenerateRequest&, const InversionFile&, const fs::path&);
/// The same for the model, its inputs and the trajectory.
void require_same_run(const Generation&, const InversionFile&, const fs::path&);

/// SHA-256 of a tensor's numbers as they are stored.
std::string tensor_hash(const Tensor&);

}  // namespace tiller
