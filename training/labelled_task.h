#pragma once
#include "models/model.h"
#include "training/dataset.h"
#include "training/objective.h"
#include "training/task.h"

namespace tiller {

/// What is needed to train a model of images with or without classes, whatever its network.
struct LabelledTraining {
  Dataset data;
  Model model, average;  ///< Alike; with labels where `model.classes` isn't 0.
  fs::path vae;          ///< Where the model's autoencoder came from; empty: it works on pixels.
  Objective objective;
  /// Writes a folder that loads, with these tensors of the average.
  std::function<void(const fs::path& folder, const NamedTensors&)> save;
  /// Besides the label: of a network that wants more; null: nothing.
  std::function<void(Conditioning&, int64_t images)> condition;
};

/// The options must outlive it. Throws UsageError where the sample grids can't be guided as asked.
std::unique_ptr<TrainTask> labelled_task(const TrainOptions&, LabelledTraining);

}  // namespace tiller
