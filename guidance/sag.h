#pragma once
#include "models/prediction.h"

namespace tiller {

/// The keys that attention dwells on: 1 where the mass that a key receives, summed over queries and
/// averaged over heads, exceeds `threshold`, else 0. q, k: (B, heads, N, d); returns (B, N)
/// float32.
Tensor salient_tokens(const Tensor& q, const Tensor& k, double threshold);
/// The same from attention probabilities (B, heads, N, N).
Tensor salient_tokens(const Tensor& probabilities, double threshold);

/// x_t whose estimate of x_0 is blurred (9 taps, sigma 1) where the mask, (B, 1, H, W), is 1; the
/// noise stays as estimated.
Tensor blurred_input(const Prediction&, const NoiseLevel&, const Tensor& mask, double sigma = 1);

}  // namespace tiller
