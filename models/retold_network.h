#pragma once
#include "models/edm_preconditioning.h"
#include "models/network.h"

namespace tiller {

/// A network with that preconditioning as one of PredictionType::edm. The network itself where it
/// is one already.
std::unique_ptr<Network> retold(std::unique_ptr<Network>, const EdmPreconditioner&);

}  // namespace tiller
