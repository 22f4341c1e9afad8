#pragma once
#include "models/edm_config.h"
#include "models/network.h"
#include "models/weights.h"

namespace tiller {

/// The UNets of EDM (arXiv 2206.00364) and PFGM++ (2302.04265) with their tensors' names: SongUNet,
/// which is DDPM++ or NCSN++ (2011.13456), and DhariwalUNet, which is ADM (2105.05233). Each
/// attention is a site and a stack of its own, named as the block that it ends; tokens lie there in
/// row-major order. Whatever the preconditioning, the output is that of PredictionType::edm. Call
/// weights.finish() afterwards.
std::unique_ptr<Network> edm_unet(const EdmConfig&, Weights&);

}  // namespace tiller
