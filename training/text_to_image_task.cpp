#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "models/unet2d_condition.h"
#include "samplers/scheduler_config.h"
#include "training/latents.h"
#include "training/noising.h"
#include "training/pipeline_checks.h"
#include "training/preview.h"
#include "training/random.h"
#include "training/task.h"
#include "training/trained_size.h"
#include "training/training_data.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kPreviewPrompts = 6;

/// UNet and text encoder as one set of parameters, "unet...." and "text_encoder....".
struct Networks {
  std::unique_ptr<Network> unet;
  std::shared_ptr<ClipText> text;
  NamedTensors parameters;
};

Networks build(const TrainOptions& options, const PipelineConfig& config) {
  Weights unet = initial_weights(options, "unet"), text = initial_weights(options, "text_encoder");
  Networks networks;
  networks.unet = unet2d_condition(config.unet, unet);
  networks.text = std::make_shared<ClipText>(config.text_encoder, text);
  for (const auto& [name, tensor] : unet.finish())
    networks.parameters.emplace_back("unet." + name, tensor);
  for (const auto& [name, tensor] : text.finish())
    networks.parameters.emplace_back("text_encoder." + name, tensor);
  if (options.initial.empty()) settle(networks.parameters);
  return networks;
}

class TextToImageTask final : public TrainTask {
 public:
  explicit TextToImageTask(const TrainOptions&);

  NamedTensors parameters() const override { return networks_.parameters; }
  NamedTensors average() const override { return average_parameters_; }
  Tensor losses(int64_t step, const BatchPart&) override;
  void learn(const Tensor& losses) override { noising_.learn(losses); }
  NamedTensors memory() const override { return noising_.memory(); }
  std::string image_name(int64_t step, int64_t row) override { return batches_.name_of(step, row); }
  void save(const fs::path& folder) const override {
    save_pipeline(folder, config_, average_parameters_);
  }
  void preview(const fs::path& path) const override {
    write_text_preview(path, average_, prompts_, options_.sample_guidance, options_.seed);
  }

 private:
  /// Latents where there is a VAE.
  TrainBatch batch_of(int64_t step, const BatchPart&);
  void make_average();
  void tokenize();
  void choose_prompts();

  const TrainOptions& options_;
  PipelineConfig config_;
  ClipTokenizer tokenizer_;
  std::shared_ptr<Autoencoder> vae_;  ///< Null: the network works on pixels.
  Dataset data_;
  Batches batches_;
  Noising noising_;
  Networks networks_;
  Model average_;  ///< The average's networks as a model that draws.
  NamedTensors average_parameters_;
  Latents latents_;
  Tensor tokens_;  ///< (N + 1, L) of the captions, and of the empty prompt.
  std::vector<std::string> prompts_;
};

Dataset captioned_data(const TrainOptions& options, const std::shared_ptr<Autoencoder>& vae) {
  Dataset data = load_diffusion_data(options, vae, working_channels(vae));
  if (!data.captions.empty()) return data;
  throw UsageError(options.data.string() +
                   (data.noise.defined()
                        ? ": got pairs without captions, expected those of a text-to-image model."
                        : ": got images without captions, expected metadata.jsonl or a NAME.txt "
                          "beside each NAME.png."));
}

TextToImageTask::TextToImageTask(const TrainOptions& options)
    : options_(options),
      config_(checked_pipeline(options)),
      tokenizer_(read_clip_vocabulary(config_.tokenizer)),
      vae_(fitting_vae(options, config_)),
      data_(captioned_data(options, vae_)),
      batches_(data_, options) {
  complete_text_encoder(config_, tokenizer_);
  noising_ = Noising(options, pipeline_objective(options, config_));
  networks_ = build(options, config_);
  make_average();
  check_preview(average_, options.sample_guidance);
  tokenize();
  if (encodes(vae_, data_)) latents_ = Latents(*vae_, config_.vae, data_, options);
  choose_prompts();
}

void TextToImageTask::make_average() {
  Networks networks = build(options_, config_);
  average_parameters_ = networks.parameters;
  average_.kind = "text_to_image";
  average_.network = std::move(networks.unet);
  average_.parameters = std::move(networks.parameters);
  average_.config = config_.unet;
  average_.prediction = read_scheduler_config(config_.scheduler).prediction;
  average_.scheduler = config_.scheduler;
  average_.vae = vae_;
  average_.pixel_scale = vae_ ? vae_->downscale() : 1;
  average_.image_size = trained_size(options_, vae_);
  average_.text = std::make_shared<TextModel>();
  average_.text->device = options_.device;
  average_.text->towers.push_back({"text_encoder", tokenizer_, *networks.text, {}, {}});
}

void TextToImageTask::tokenize() {
  std::vector<Tensor> rows;
  const auto add = [&](const std::string& text) {
    rows.push_back(chunk_ids(tokenize_plain(tokenizer_, text).chunks));
  };
  for (const auto& caption : data_.captions) add(caption);
  add("");
  tokens_ = at::cat(rows).to(options_.device);
}

/// The config's, else captions from all over the data set.
void TextToImageTask::choose_prompts() {
  prompts_ = config_.prompts;
  const int64_t images = std::ssize(data_.captions);
  for (int64_t i = 0; prompts_.empty() || (config_.prompts.empty() && i < kPreviewPrompts); ++i)
    prompts_.push_back(data_.captions[i * images / kPreviewPrompts]);
}

TrainBatch TextToImageTask::batch_of(int64_t step, const BatchPart& part) {
  if (!encodes(vae_, data_)) return batches_.at(step, part);
  return {.images = latents_.at(batches_, step, part)};
}

Tensor TextToImageTask::losses(int64_t step, const BatchPart& part) {
  const int64_t images = data_.images.size(0);
  const Tensor chosen =
      batches_.indices(step).narrow(0, part.first, part.count).to(options_.device);
  const Tensor captions =
      drop_labels(chosen, label_coins(options_, step, part), options_.label_dropout, images);
  const TrainBatch batch = batch_of(step, part);
  const TrainExample example = noising_.example(step, part, batch.images, batch.noise);
  seed_dropout(options_.seed, step, part.first);
  Conditioning conditioning;
  conditioning.context = networks_.text->encode(tokens_.index_select(0, captions)).context;
  const Branch branch{&conditioning, nullptr};
  Rows rows({&branch, 1}, part.count, {.training = true, .recompute = options_.recompute});
  return noising_.losses(networks_.unet->forward(example.x, example.timesteps, rows), example);
}

}  // namespace

std::unique_ptr<TrainTask> text_to_image_task(const TrainOptions& options) {
  return std::make_unique<TextToImageTask>(options);
}

}  // namespace tiller
