#pragma once
#include <memory>

#include "io/tensor_file.h"
#include "training/options.h"

namespace tiller {

/// Rows of a step's whole batch.
struct BatchPart {
  int64_t first = 0, count = 0;
};

/// This process's images of the whole batch, as many at a time as are to be computed together.
std::vector<BatchPart> parts_of(const TrainOptions&);

/// What a run learns. The trainer knows nothing else of networks and data.
class TrainTask {
 public:
  virtual ~TrainTask() = default;
  /// The tensors to be trained, and those of the same names that their average is to be kept in.
  virtual NamedTensors parameters() const = 0;
  virtual NamedTensors average() const = 0;
  /// Each image's loss, (count), to be differentiated. It depends on the parameters, the options
  /// and the step alone, so that a step can be repeated after a kill, and an image's not on the
  /// part that it is in (dropout and bfloat16's rounding aside), so that a batch can be divided.
  virtual Tensor losses(int64_t step, const BatchPart&) = 0;
  /// Told after each step: the losses of its whole batch, (B) on the CPU.
  virtual void learn(const Tensor&) {}
  /// What `learn` changes: part of the run's state.
  virtual NamedTensors memory() const { return {}; }
  /// An image of a step's whole batch, as the user knows it.
  virtual std::string image_name(int64_t step, int64_t row) = 0;
  /// Writes the average to a folder, as a model that loads.
  virtual void save(const fs::path& folder) const = 0;
  /// Writes a picture of what the average can do.
  virtual void preview(const fs::path&) const = 0;
};

/// The task that a config describes. The options must outlive it. Throws Error or UsageError where
/// the config or the data doesn't fit.
std::unique_ptr<TrainTask> train_task(const TrainOptions&);

/// An ADM model, class-conditional or not, from guided-diffusion's flags; of the latents of the
/// autoencoder in the folder "vae" where the config names one. Saves model.safetensors, config.json
/// and vae/.
std::unique_ptr<TrainTask> adm_task(const TrainOptions&);

/// An AutoencoderKL, from diffusers' config ("_class_name": "AutoencoderKL"): L1 of pixels and of
/// their differences to the right and below, and a small KL divergence. Saves config.json and
/// diffusion_pytorch_model.safetensors, a diffusers VAE whose latents have mean 0 and standard
/// deviation 1 in each channel.
std::unique_ptr<TrainTask> autoencoder_task(const TrainOptions&);

/// A diffusion model of images and classes: UNet2DConditionModel with num_class_embeds, whose
/// cross-attention reads zeros. The config holds diffusers' configs "unet" and "scheduler" and,
/// unless the network works on pixels, the folder "vae". Saves a folder with model_index.json, the
/// classes' names in its "id2label".
std::unique_ptr<TrainTask> class_to_image_task(const TrainOptions&);

/// A diffusion model of images and captions: UNet2DConditionModel and CLIP text encoder
/// together. The config holds diffusers' configs "unet", "text_encoder" and "scheduler" and the
/// folders "tokenizer" and, unless the network works on pixels, "vae"; "prompts" (optional) are
/// those of the sample grids. Saves a folder that diffusers' StableDiffusionPipeline loads.
std::unique_ptr<TrainTask> text_to_image_task(const TrainOptions&);

}  // namespace tiller
