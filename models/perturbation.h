#pragma once
#include <span>

#include "models/site.h"

namespace tiller {

/// What a perturbation may know of the step at hand. Nothing here depends on how images are
/// batched.
struct StepContext {
  int step = 0;                   ///< 0 is the noisiest.
  int steps = 1;                  ///< Steps of the whole run.
  std::vector<uint64_t> seeds;    ///< One an image.
  int64_t height = 0, width = 0;  ///< Of the latent.
  at::Device device = at::kCPU;
};

/// A rule that changes what a network does at chosen sites, for the rows of one branch.
/// Networks call it; guidance/ implements it. B counts images.
class Perturbation {
 public:
  enum class Kind {
    permutation,  ///< Shuffles the tokens that enter a site.
    tokens,       ///< Changes the tokens that enter a site in any other way.
    attention,    ///< Replaces the self-attention of a site.
    text,         ///< Replaces a site's cross-attention to the branch's own context.
    skip,         ///< A site's block returns what enters it.
    cross,        ///< Blends a site's cross-attention with that to a second context.
    time,         ///< Changes the time embedding; has no sites.
    observe       ///< Changes nothing: reads the queries and keys of a site's self-attention.
  };
  virtual ~Perturbation() = default;
  virtual Kind kind() const = 0;
  virtual bool acts_at(const Site&) const = 0;
  /// Called once before the evaluations of a step: draw here whatever the step needs.
  virtual void begin_step(const StepContext&) {}
  /// kind permutation: (B, N) int64; token i of the output is token [i] of the input.
  virtual Tensor permutation(const Site&) const { return {}; }
  /// kind tokens: (B, N, C) to the same shape.
  virtual Tensor tokens(const Site&, const Tensor& x) const { return x; }
  /// kind attention, text: q of (B, heads, N, d), k and v of (B, heads, L, d), to q's shape.
  virtual Tensor attention(const Site&, const Tensor& q, const Tensor& k, const Tensor& v) const;
  /// kind attention: whether `attention` returns v, the map being the identity. It isn't called
  /// then, and a branch that has its rows for itself gets neither queries nor keys.
  virtual bool is_identity() const { return false; }
  /// kind cross: the second context, (B, L, D).
  virtual Tensor context() const { return {}; }
  /// kind cross: cross-attention to the branch's own context and to the second one, with the same
  /// queries, (B, heads, N, d) each, to one of that shape.
  virtual Tensor blend(const Tensor& own, const Tensor& second) const { return own; }
  /// kind time: the time embedding, (B, E), as its layers give it, to the same shape.
  virtual Tensor time(const Tensor& embedding) const { return embedding; }
  /// kind observe: q, k of (B, heads, N, d).
  virtual void observe(const Site&, const Tensor& q, const Tensor& k) const {}
};

}  // namespace tiller
