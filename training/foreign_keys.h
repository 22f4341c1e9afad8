#pragma once
#include "training/options.h"

namespace tiller {

/// Keys of an ADM model's config that guided-diffusion's scripts read for training, not for the
/// network: what they say `train` takes from its flags. Says on standard error which are there and
/// ignored. Throws UsageError on `use_kl`, a loss that Tiller doesn't have.
void check_foreign_keys(const TrainOptions&);

/// The config without them.
nlohmann::json without_foreign_keys(nlohmann::json config);

}  // namespace tiller
