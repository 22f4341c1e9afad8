#pragma once
#include "tests/samplers/reversible.h"

namespace tiller::test {

/// What a text model's guidance does, on the toy network: a tenth of the states is added to
/// epsilon. States are (B, L, D) with as many numbers as an image.
struct TextToy {
  PredictionType type = PredictionType::epsilon;
  double scale = 3;
  Tensor positive, negative;

  Prediction predict(const Tensor& x, const NoiseLevel& level, const Tensor& states) const {
    const Tensor output = toy_output(x * input_scale(level, type), level.timestep);
    return to_prediction(output + 0.1 * states.view(x.sizes()), x, level, type);
  }
  void attach(Reversible& r) const {
    const TextToy toy = *this;
    r.steering.conditional = [toy, &r](const Tensor& x, const NoiseLevel& level) {
      ++r.evaluations;
      return toy.predict(x, level, toy.positive);
    };
    r.steering.positive = positive;
    r.steering.negative = negative;
    r.steering.with_negative = [toy, &r](const Tensor& other) -> Denoiser {
      return [toy, &r, other](const Tensor& x, const NoiseLevel& level) {
        ++r.evaluations;
        return toy.predict(x, level, other + toy.scale * (toy.positive - other));
      };
    };
    r.denoise = r.steering.with_negative(negative);
  }
};

inline TextToy text_toy(const Tensor& x, double share_of_negative = 0.9) {
  const Tensor states = at::arange(x.numel(), x.options()).cos().view({x.size(0), 2, -1});
  return {.positive = states, .negative = share_of_negative * states};
}

}  // namespace tiller::test
