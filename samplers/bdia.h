#pragma once
/// Bi-directional integration approximation, arXiv 2307.10829: any one-step solver made invertible.
#include "samplers/inversion.h"

namespace tiller {

/// a x + b y: where a solver's step leads.
struct LinearStep {
  Tensor x;
  double a;
  Tensor y;
  double b;
};

/// One-step solver: where it leads from levels[level] to both neighbours, as functions of the
/// latents there alone.
struct BidirectionalStep {
  LinearStep cleaner, noisier;  ///< Empty where there is no such neighbour.
  Prediction prediction;        ///< For observers.
};
using BidirectionalSolver = BidirectionalStep (*)(const InversionRun&, const Tensor& latents,
                                                  int level);

/// DDIM, eta = 0: one evaluation.
BidirectionalStep ddim_steps(const InversionRun&, const Tensor& latents, int level);
/// Heun's method towards the image, Euler's towards noise (arXiv 2206.00364); two evaluations.
/// alpha = 1.
BidirectionalStep edm_steps(const InversionRun&, const Tensor& latents, int level);

/// The states are pairs of neighbouring levels: partner is what was reached before latents.
/// Equation 15 and its inverse; the first step is the solver's own.
InversionState bdia_ascend(BidirectionalSolver, const InversionRun&, InversionState, int until);
InversionState bdia_descend(BidirectionalSolver, const InversionRun&, InversionState);

}  // namespace tiller
