#pragma once
#include "models/window_denoiser.h"
#include "samplers/registry.h"

namespace tiller {

/// How the equations x_{i+1} = F_i(x_i) of a run's steps are solved side by side. With
/// F_i(x) = a_i x + r_i(x) the last k of them give
///   x_{i+1} = a_i ... a_{i-k+1} x_{i-k+1} + sum_j (product of later a) r_j(x_j).
struct ParallelOptions {
  enum class Method {
    picard,        ///< ParaDiGMS, arXiv 2305.16317, algorithm 1: a = 1, k the window.
    jacobi,        ///< arXiv 2002.03629: k = 1.
    gauss_seidel,  ///< The same block by block: a window is solved before the next begins.
    taa            ///< ParaTAA, arXiv 2402.09970: a the levels' alpha ratios, with mixing.
  };
  Method method = Method::picard;
  int window = 16;  ///< Steps evaluated in one batch.
  /// Of what a sweep may still change, in units of the noise that DDPM adds on the way to a point,
  /// root mean square over an image.
  double tolerance = 0.01;
  int order = 8;   ///< taa: k.
  int memory = 3;  ///< taa: sweeps that are mixed; 1: no mixing.
};

/// A way to take steps side by side as the command line and `tiller list` know it.
struct ParallelMethod {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::vector<Option> options;
  ParallelOptions::Method method;
};
const std::vector<ParallelMethod>& parallel_methods();

/// "NAME:key=value,..." with NAME one of picard, jacobi, gauss-seidel and taa; window=0: all of
/// `steps`. besides: other names that the user may have meant. Throws UsageError.
ParallelOptions parallel_options(const std::string& text, int steps,
                                 const std::vector<std::string>& besides = {});

/// Throws UsageError unless the sampler's steps depend on a sample and its prediction alone.
void require_one_step(const Sampler&, const Options&);

/// What the sampler's `run` gives, within the tolerance: all steps of a window at once, again and
/// again, from a first guess. Each sweep settles one step at least. Draws the same noise. The
/// observer is told of steps as they are settled; what it sets samples to counts for nothing.
Tensor sample_parallel(const WindowDenoiser&, Tensor x, const Trajectory&, const Sampler&,
                       const Options&, NoiseSource&, const ParallelOptions&, const Observer& = {});

}  // namespace tiller
