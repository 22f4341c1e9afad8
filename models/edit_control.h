#pragma once
#include "models/alterations.h"
#include "models/perturbation.h"

namespace tiller {

/// Queries, keys and values, each (R, heads, N, d).
struct Heads {
  Tensor q, k, v;
};

/// Which inputs of a self-attention an edit reads from its source.
struct FromSource {
  bool q = false, k = false, v = false;
  bool any() const { return q || k || v; }
};

/// A rule by which images of a batch read others of it. Of B images the first half are sources, and
/// image B / 2 + i is an edit of image i, with the same seed. Changes the edits alone, whatever
/// perturbation their branch has besides. Networks call it; guidance/ implements it.
class EditControl {
 public:
  virtual ~EditControl() = default;
  /// false: it acts in branches that read the positive conditioning alone.
  virtual bool in_all_branches() const = 0;
  /// Called once before the evaluations of a step.
  virtual void begin_step(const StepContext&) {}
  virtual FromSource self_attention(const Site&) const { return {}; }
  /// Whether the cross-attention to the branch's own context is replaced.
  virtual bool acts_on_text(const Site&) const { return false; }
  /// q of (B, heads, N, d), k and v of (B, heads, L, d), and what stands in for softmax; null:
  /// nothing. Returns the edits', (B / 2, heads, N, d).
  virtual Tensor text_attention(const Site&, const Heads&, const AttentionWeights*) const {
    return {};
  }
  /// Whether what the way up's n-th residual block adds is the source's.
  virtual bool acts_on_features(int block) const { return false; }
};

}  // namespace tiller
