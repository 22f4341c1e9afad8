#include "training/labelled_task.h"

#include <ATen/ATen.h>

#include "training/latents.h"
#include "training/noising.h"
#include "training/preview.h"
#include "training/random.h"
#include "training/training_data.h"

namespace tiller {
namespace {

class LabelledTask final : public TrainTask {
 public:
  LabelledTask(const TrainOptions&, LabelledTraining);

  NamedTensors parameters() const override { return of_.model.parameters; }
  NamedTensors average() const override { return of_.average.parameters; }
  Tensor losses(int64_t step, const BatchPart&) override;
  void learn(const Tensor& losses) override { noising_.learn(losses); }
  NamedTensors memory() const override { return noising_.memory(); }
  std::string image_name(int64_t step, int64_t row) override { return batches_.name_of(step, row); }
  void save(const fs::path& folder) const override { of_.save(folder, average()); }
  void preview(const fs::path& path) const override {
    write_preview(path, of_.average, options_.sample_guidance, options_.seed);
  }

 private:
  TrainBatch batch_of(int64_t step, const BatchPart&);
  Tensor labels_of(int64_t step, const BatchPart&, const TrainBatch&) const;

  const TrainOptions& options_;
  LabelledTraining of_;
  Batches batches_;
  Noising noising_;
  Latents latents_;
};

LabelledTask::LabelledTask(const TrainOptions& options, LabelledTraining of)
    : options_(options),
      of_(std::move(of)),
      batches_(of_.data, options),
      noising_(options, of_.objective) {
  check_preview(of_.average, options.sample_guidance);
  if (encodes(of_.model.vae, of_.data))
    latents_ = Latents(*of_.model.vae, of_.vae, of_.data, options);
}

/// Latents where there is a VAE.
TrainBatch LabelledTask::batch_of(int64_t step, const BatchPart& part) {
  if (!encodes(of_.model.vae, of_.data)) return batches_.at(step, part);
  TrainBatch batch{.images = latents_.at(batches_, step, part)};
  const Tensor chosen = batches_.indices(step).narrow(0, part.first, part.count);
  if (of_.data.labels.defined())
    batch.labels = of_.data.labels.index_select(0, chosen.to(of_.data.labels.device()));
  return batch;
}

/// Some dropped; undefined without classes.
Tensor LabelledTask::labels_of(int64_t step, const BatchPart& part, const TrainBatch& batch) const {
  if (!of_.model.classes) return {};
  if (!of_.model.null_label) return batch.labels;
  return drop_labels(batch.labels, label_coins(options_, step, part), options_.label_dropout,
                     of_.model.classes);
}

Tensor LabelledTask::losses(int64_t step, const BatchPart& part) {
  const TrainBatch batch = batch_of(step, part);
  Conditioning conditioning{.label = labels_of(step, part, batch)};
  if (of_.condition) of_.condition(conditioning, part.count);
  const TrainExample example = noising_.example(step, part, batch.images, batch.noise);
  seed_dropout(options_.seed, step, part.first);
  const Branch branch{&conditioning, nullptr};
  Rows rows({&branch, 1}, part.count, {.training = true, .recompute = options_.recompute});
  return noising_.losses(of_.model.network->forward(example.x, example.timesteps, rows), example);
}

}  // namespace

std::unique_ptr<TrainTask> labelled_task(const TrainOptions& options, LabelledTraining training) {
  return std::make_unique<LabelledTask>(options, std::move(training));
}

}  // namespace tiller
