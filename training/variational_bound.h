#pragma once
#include "training/objective.h"

namespace tiller {

/// The variational bound's term of each image's timestep (arXiv 2102.09672, equations 4 to 7 and
/// 15), in bits a dimension, (B): the divergence between q(x_{t-1} | x_t, x_0) and the model's
/// normal distribution, at t = 0 the likelihood of the 8-bit image. answer: the network's, whose
/// mean this is not to teach (detached); variance: its raw value, -1 to 1 between the smallest and
/// the largest logarithm.
Tensor variational_bound(const NoiseSchedule&, PredictionType, const Tensor& answer,
                         const Tensor& variance, const TrainExample&);

}  // namespace tiller
