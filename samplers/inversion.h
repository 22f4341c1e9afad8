#pragma once
#include "io/options.h"
#include "samplers/noise.h"
#include "samplers/trajectory.h"

namespace tiller {

/// Images on their way between x_0 and noise. Tensors are (B, C, H, W) unless said otherwise.
struct InversionState {
  int level = 0;   ///< Index in Trajectory::levels of where `latents` are.
  Tensor latents;  ///< Integers on a lattice (lattice.h), int32 where they fit; else floats.
  Tensor partner;  ///< What goes with them, as the sampler has it; undefined: nothing yet.
  Tensor side;     ///< int64: digits that a multiplication on the lattice left; undefined: none.
  Tensor record;   ///< What was kept of every step, (S, B, ...); undefined: nothing.
};

/// For methods that work on what guidance is given.
struct InversionSteering {
  Denoiser conditional;  ///< The prompt's or class's prediction, unguided.
  Tensor positive;  ///< The prompt's text states (B, L, D); undefined: the model reads no text.
  Tensor negative;  ///< Those that guidance steers away from.
  /// The guided denoiser with these in the negative's place. Differentiable in them.
  std::function<Denoiser(const Tensor& negative)> with_negative;
};

/// All that a run in either direction needs.
struct InversionRun {
  const Denoiser& denoise;  ///< Guided.
  const Trajectory& trajectory;
  const Options& options;
  const InversionSteering& steering;
  /// Told after each step, in either direction; what it sets the sample to counts when descending.
  Observer observer = {};
  NoiseSource* noise = nullptr;  ///< One row an image; null: only where none is drawn.
};

/// A sampler that can be run in both directions. A state without `partner` begins afresh: at x_0
/// (level N) when ascending, at any level when descending. Throws UsageError where the options
/// allow no inverse, Error where latents leave the range of numbers.
struct Inverse {
  /// Whether the way from the image to noise and back ends at its very bits, on a lattice.
  bool exact = false;
  /// The record leads back to the very image: what is drawn instead of it goes without.
  bool record_is_the_images = false;
  bool draws = false;  ///< The way up draws its noise: it finds none that an image was made from.
  bool pairs = false;  ///< After a step every state has a partner.
  /// Throw UsageError where so many steps leave the range of numbers, up from an image or down from
  /// noise, by the options alone; null: none do.
  void (*check_ascent)(const Options&, int steps) = nullptr;
  void (*check_descent)(const Options&, int steps) = nullptr;
  /// Towards noise, until levels[until].
  InversionState (*ascend)(const InversionRun&, InversionState, int until) = nullptr;
  /// Towards the image, to levels[N].
  InversionState (*descend)(const InversionRun&, InversionState) = nullptr;
};

/// The level at which networks are asked about the end of a run: where it ends without noise, the
/// cleanest that they know.
NoiseLevel end_level(const Trajectory&);

/// Latents as floating point numbers, float32 unless they are float64.
Tensor float_latents(const Tensor& latents);

}  // namespace tiller
