#pragma once
#include "models/adm_config.h"
#include "models/network.h"
#include "models/weights.h"

namespace tiller {

/// guided-diffusion's UNet (arXiv 2105.05233), with its tensor names. Each attention block is a
/// site and a stack of its own; tokens lie there in row-major order. Call weights.finish()
/// afterwards.
std::unique_ptr<Network> adm_unet(const AdmConfig&, Weights&);

}  // namespace tiller
