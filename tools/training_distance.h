#pragma once
#include "tools/command.h"
#include "training/options.h"

namespace tiller {

/// Flags of train that ask for distances.
const std::vector<Flag>& distance_flags();

/// What they ask for: samples of a saved model, by the first of --features, against --fd-reference
/// or the images of --data as they are trained on; never where they ask for none. Throws UsageError
/// or Error, before anything is trained.
DistanceMeasure distance_measure(const Flags&, const TrainOptions&);

}  // namespace tiller
