#pragma once
#include "models/edm_config.h"
#include "models/layers.h"

namespace tiller::edm {

/// What the blocks know of the noise level and the class.
struct Embedding {
  bool dhariwal = false;
  int64_t waves = 0;   ///< Width of the noise level's cosines and sines.
  Tensor frequencies;  ///< (waves / 2), float32, of NCSN++; undefined: a geometric series.
  Linear layer0, layer1;
  int64_t classes = 0;
  Linear label;  ///< Of a one-hot vector, or of zeros for "no label".
  /// t: (B). Returns (R, E), after its SiLU.
  Tensor operator()(Rows&, const Tensor& t) const;

 private:
  Tensor noise(const Tensor& t) const;
  Tensor labels(Rows&) const;
};
Embedding take_embedding(Weights&, const EdmConfig&);

}  // namespace tiller::edm
