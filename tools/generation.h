#pragma once
#include "guidance/denoiser.h"
#include "io/progress.h"
#include "samplers/registry.h"
#include "tools/request.h"

namespace tiller {

/// A request made ready: the model loaded, names resolved and everything checked.
struct Generation {
  GenerateRequest request;  ///< With what was left open filled in: classes as indices, size, ...
  Model model;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  const Sampler* sampler = nullptr;
  Options sampler_options;
  Trajectory trajectory;
  std::vector<ImageSpec> images;  ///< Image k has seed + k and the k-th class in turn.
};

/// Loads the model and checks the request against it. Throws UsageError or Error.
Generation prepare(GenerateRequest);

/// The model that comes with Tiller: in weights/ of the source tree, else in
/// ../share/tiller/weights beside the program. Throws Error when there is none.
fs::path default_model();

/// The class's name where the model has one, else "class 3"; "" without a class.
std::string class_label(const Model&, int64_t label);

/// Is given the images first, first + 1, ... as they are done, (B, C, H, W) float32 on the CPU.
using ImageSink = std::function<void(size_t first, const Tensor& samples)>;

/// Makes images, `batch` at a time. Throws Error when a sample isn't finite.
GuidanceCost run_images(const Generation&, std::span<ChosenGuidance>, std::span<const ImageSpec>,
                        int64_t batch, Progress&, const ImageSink&);

}  // namespace tiller
