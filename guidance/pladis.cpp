#include <ATen/ATen.h>

#include "guidance/entmax.h"
#include "guidance/registry.h"

namespace tiller {
namespace {

/// softmax(z) + s (sparse(z) - softmax(z)).
class SparseWeights final : public AttentionWeights {
 public:
  SparseWeights(double scale, Tensor (*sparse)(const Tensor&)) : scale_(scale), sparse_(sparse) {}
  Tensor operator()(const Tensor& scores) const override {
    return at::lerp(scores.softmax(-1), sparse_(scores), scale_);
  }

 private:
  double scale_;
  Tensor (*sparse_)(const Tensor&);
};

/// PLADIS, arXiv 2503.07677, equation 15: every cross-attention of every branch goes from softmax
/// to a sparse map and beyond.
class SparseAttention final : public Guidance {
 public:
  SparseAttention(double scale, Tensor (*sparse)(const Tensor&))
      : idle_(scale == 0), weights_(scale, sparse) {}
  bool is_idle() const override { return idle_; }
  bool is_stateless() const override { return true; }
  Alterations alterations() const override {
    return {.text = idle_ ? nullptr : &weights_, .skips = nullptr};
  }

 private:
  bool idle_;
  SparseWeights weights_;
};

}  // namespace

GuidanceEntry pladis_guidance() {
  return {.name = "pladis",
          .description = "Sparse attention (PLADIS): image tokens read fewer of the prompt's",
          .paper = "2503.07677",
          .options = {{"scale", "2", "from softmax (0: off) to the sparse map (1) and beyond"},
                      {"sparse_func", "entmax1.5", "the sparse map: entmax1.5 or sparsemax"}},
          .needs_text = true,
          .family = "attention weights",
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            const bool entmax =
                options.choice("sparse_func", {"entmax1.5", "sparsemax"}) == "entmax1.5";
            return std::make_unique<SparseAttention>(options.number("scale", 0),
                                                     entmax ? entmax15 : sparsemax);
          }};
}

}  // namespace tiller
