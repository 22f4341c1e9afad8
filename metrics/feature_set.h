#pragma once
#include "metrics/feature_network.h"
#include "metrics/frechet.h"
#include "metrics/neighbours.h"

namespace tiller {

/// What is kept of a set's features, beside their moments.
struct Keep {
  bool features = false, logits = false, spatial = false;
};

/// A set of images as one network sees it.
struct FeatureSet {
  int64_t count = 0;               ///< 0: not known, of statistics that don't say.
  std::optional<Moments> moments;  ///< Of the features; none below two images.
  std::optional<Moments> spatial;  ///< Of sFID's.
  Tensor features;                 ///< (N, width) float32; undefined: not kept.
  Tensor logits;                   ///< (N, classes) float32; undefined: not kept.
};

/// Rows that are appended in batches.
class RowBuffer {
 public:
  /// expected: rows for which memory is taken at first; 0: not known.
  explicit RowBuffer(int64_t expected = 0) : expected_(expected) {}
  void append(const Tensor& rows);
  /// (N, ...); undefined: nothing came.
  Tensor rows() const;

 private:
  int64_t expected_, count_ = 0;
  Tensor buffer_;
};

/// Gathers a FeatureSet as images come.
class FeatureCollector {
 public:
  /// expected: how many images; 0: not known.
  FeatureCollector(const FeatureNetwork&, Keep, int64_t expected = 0);
  /// Throws Error on features that aren't finite or of another width.
  void add(const Features&);
  FeatureSet finish();

 private:
  Keep keep_;
  std::optional<MomentSum> pooled_, spatial_;
  RowBuffer features_, logits_;
};

/// A reference, with what many comparisons share made once, when it is first asked for.
class Reference {
 public:
  explicit Reference(FeatureSet set) : set_(std::move(set)) {}
  const FeatureSet& set() const { return set_; }
  const FrechetReference& frechet();
  const FrechetReference& spatial();
  const Neighbours& neighbours();

 private:
  FeatureSet set_;
  std::optional<FrechetReference> frechet_, spatial_;
  std::optional<Neighbours> neighbours_;
};

}  // namespace tiller
