#pragma once
#include "models/autoencoder.h"
#include "models/weights.h"
#include "training/objective.h"
#include "training/options.h"
#include "training/pipeline_files.h"

namespace tiller {

/// The pipeline that the options' config describes. Throws UsageError where it can't be trained.
PipelineConfig checked_pipeline(const TrainOptions&);

/// Channels of what a pipeline's UNet works on: the autoencoder's latents, or images where it is
/// null.
int64_t working_channels(const std::shared_ptr<Autoencoder>&);

/// Its autoencoder; null: it works on pixels. Throws UsageError where the UNet can't work on its
/// latents, or on images.
std::shared_ptr<Autoencoder> fitting_vae(const TrainOptions&, const PipelineConfig&);

/// A part's weights to begin with: fresh ones, or those of the options' folder.
Weights initial_weights(const TrainOptions&, const std::string& part);

/// What its UNet is taught.
Objective pipeline_objective(const TrainOptions&, const PipelineConfig&);

}  // namespace tiller
