#pragma once
#include "samplers/noise.h"

namespace tiller {

/// The prior of PFGM++, arXiv 2302.04265, with D augmented dimensions, from EDM's: `noise`, (B,
/// ...) of N numbers an image and standard deviation sigma_max each. Its radius then follows R = r
/// sqrt(B / (1 - B)), B ~ Beta(N / 2, D / 2), r = sigma_max sqrt(D), in the same direction: the
/// noise is divided by sqrt(chi^2_D / D), of which each image draws D normal numbers. As D grows
/// this is EDM's.
Tensor pfgmpp_prior(const Tensor& noise, int64_t augmented, NoiseSource&);

}  // namespace tiller
