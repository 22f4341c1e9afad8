#pragma once
#include <map>
#include <memory>

#include "guidance/guidance.h"

namespace tiller {

/// Where the tokens of one word stand in each image's context; none where a prompt lacks the word.
using WordTokens = std::vector<std::vector<int64_t>>;

/// Where cross-attention puts words, as DAAM has it (arXiv 2210.04885): the probabilities of each
/// token, summed over the evaluations of a run, for every head of every block outside the middle
/// whose tokens lie on the latent's grid, a half or a quarter of it; brought to the latent's size,
/// then averaged over heads and blocks, and over a word's tokens.
class AttentionMaps {
 public:
  /// height, width: of the latent.
  AttentionMaps(std::vector<WordTokens> words, int64_t height, int64_t width);
  static bool reads(const Site&);
  /// Adds a block's cross-attention. q: (B, heads, N, d), k: (B, heads, L, d).
  void observe(const Site&, const Tensor& q, const Tensor& k);
  /// (B, words, H, W) float32 on the CPU; zeros where an image's prompt lacks the word.
  Tensor maps() const;

 private:
  struct Sum {
    Grid grid;
    Tensor probabilities;  // (B, heads, N, tokens)
  };
  Tensor token_maps() const;

  std::vector<WordTokens> words_;
  int64_t height_, width_;
  Tensor columns_;           // (B, tokens) int64: every word's tokens, then zeros
  std::map<int, Sum> sums_;  // by the site's order
};

/// Softmax over all keys of q k^T / sqrt(d), of which the columns given are kept. q: (B, heads, N,
/// d), k: (B, heads, L, d), columns: (B, T) int64. Returns (B, heads, N, T) float32.
Tensor attention_columns(const Tensor& q, const Tensor& k, const Tensor& columns);

/// AtMan's suppression (arXiv 2301.08110): scores above their row's least are multiplied by the
/// key's factor. scores: (B, heads, N, L), factors: (B, L).
Tensor suppressed_scores(const Tensor& scores, const Tensor& factors);

/// Attention with those scores, computed in float32. v: (B, heads, L, d).
Tensor suppressed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                            const Tensor& factors);

/// What the prediction would lose without a word: a branch more a word, at every n-th step, in
/// which all cross-attention suppresses its tokens (AtMan, factor 0.1). Its maps are the absolute
/// differences to the conditional branch's epsilon, averaged over channels, summed over those
/// steps. Adds nothing to the prediction.
class WordEffects final : public Guidance {
 public:
  WordEffects(std::vector<WordTokens> words, int every);
  ~WordEffects() override;
  void begin_run() override;
  void begin_step(const GuidanceStep&) override;
  std::vector<Request> requests(const GuidanceStep&, std::span<const Tensor> answers) override;
  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override;
  /// (B, words, H, W) float32 on the CPU; zeros where an image's prompt lacks the word.
  Tensor maps() const;

 private:
  class Suppression;
  std::vector<WordTokens> words_;
  std::vector<std::unique_ptr<Suppression>> suppressions_;
  int every_, first_ = -1, last_ = -1;  // steps: the first one seen, the last one measured
  bool measures_ = false;
  Tensor sum_;  // (B, words, H, W)
};

}  // namespace tiller
