#pragma once
/// The network of FID (arXiv 1706.08500): TensorFlow's "inception-2015-12-05" as pytorch-fid has
/// it.
#include "metrics/conv_norm.h"

namespace tiller {

struct InceptionFeatures {
  Tensor pooled;   ///< (B, dims).
  Tensor logits;   ///< (B, 1008), without the bias, as the Inception Score has them.
  Tensor spatial;  ///< (B, 2023): sFID's, 17 x 17 x 7, as guided-diffusion has them.
};

/// Convolutions one after the other, a ReLU behind each; the last two side by side if `split`.
struct InceptionBranch {
  std::vector<ConvNorm> convolutions;
  bool split = false;
};

/// Branches whose results are put side by side, the pooled one last.
struct InceptionBlock {
  enum class Pool { average, max, halving };
  std::vector<InceptionBranch> branches;
  Pool pool = Pool::average;
  InceptionBranch pooled;  ///< Behind the pooling.
};

class FidInception {
 public:
  /// The tensors of pt_inception-2015-12-05-6726825d.pth. dims: width of the features: 2048, or 64,
  /// 192 or 768 of earlier layers. Throws Error naming what is missing or doesn't fit; `file` is
  /// for messages.
  FidInception(TensorFile, const std::string& file, at::Device device = at::kCPU,
               int64_t dims = 2048);

  static constexpr int64_t side = 299;
  /// x: (B, 3, 299, 299) in [-1, 1]. Layers behind that of `dims` are left out, and what they give.
  InceptionFeatures operator()(const Tensor& x) const;

 private:
  int64_t dims_;
  std::vector<ConvNorm> stem_;
  std::vector<InceptionBlock> blocks_;
  Tensor classes_;  ///< (1008, 2048).
};

}  // namespace tiller
