#include "guidance/sag.h"

#include <ATen/ATen.h>

#include <cmath>

#include "guidance/filter.h"
#include "guidance/observing.h"
#include "io/error.h"

namespace tiller {
namespace {

constexpr int64_t kMostTaps = 9;

/// Keeps the mask of salient tokens of one site's self-attention.
class SalienceObserver final : public ObservingPerturbation {
 public:
  SalienceObserver(std::vector<Site> sites, double threshold)
      : ObservingPerturbation(std::move(sites)), threshold_(threshold) {}
  void observe(const Site&, const Tensor& q, const Tensor& k) const override {
    set_reading(salient_tokens(q, k, threshold_));
  }
  /// (B, 1, H, W) of a latent of that size.
  Tensor mask(int64_t height, int64_t width) const {
    const Grid grid = token_grid(sites().front(), height, width);
    return at::upsample_nearest2d(reading().reshape({-1, 1, grid.height, grid.width}),
                                  {height, width});
  }

 private:
  double threshold_;
};

/// Self-Attention Guidance, arXiv 2210.00939: D_b is the prediction for an input whose estimate of
/// x_0 is blurred where self-attention dwells. s (D_r - D_b) is added, where r is the negative
/// conditioning beside a guidance that needs it, else the positive one.
class SelfAttention final : public Guidance {
 public:
  SelfAttention(double scale, double sigma, std::unique_ptr<SalienceObserver> observer)
      : scale_(scale), sigma_(sigma), observer_(std::move(observer)) {}

  bool reads_attention() const override { return true; }

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (scale_ == 0 || answers.size() > 2) return {};
    const Conditioning* read = step.asks_negative ? step.negative : step.positive;
    if (answers.empty()) return {{.branch = {read, observer_.get()}}};
    const Prediction prediction =
        to_prediction(answers[1], step.x.to(at::kFloat), step.level, step.prediction);
    const Tensor mask = observer_->mask(step.context.height, step.context.width);
    return {{.branch = {read}, .input = blurred_input(prediction, step.level, mask, sigma_)}};
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (scale_ == 0) return {};
    return scale_ * difference(answers[1], answers[2]);
  }

 private:
  double scale_, sigma_;
  std::unique_ptr<SalienceObserver> observer_;
};

std::unique_ptr<Guidance> make_sag(const Options& options, GuidanceContext context) {
  if (context.sites.size() != 1)
    throw UsageError("layers: got " + std::to_string(context.sites.size()) +
                     " blocks, expected one whose attention to watch.");
  auto observer =
      std::make_unique<SalienceObserver>(std::move(context.sites), options.number("threshold", 0));
  return std::make_unique<SelfAttention>(options.number("scale"),
                                         options.number("sigma", 0.01, 1000), std::move(observer));
}

}  // namespace

Tensor salient_tokens(const Tensor& q, const Tensor& k, double threshold) {
  const double scale = 1 / std::sqrt(double(q.size(3)));
  const Tensor logits = at::matmul(q.to(at::kFloat) * scale, k.to(at::kFloat).transpose(2, 3));
  return salient_tokens(logits.softmax(3), threshold);
}

Tensor salient_tokens(const Tensor& probabilities, double threshold) {
  return (probabilities.mean(1).sum(1) > threshold).to(at::kFloat);
}

Tensor blurred_input(const Prediction& prediction, const NoiseLevel& level, const Tensor& mask,
                     double sigma) {
  const Tensor& sample = prediction.sample;
  const int64_t most = 2 * std::min(sample.size(2), sample.size(3)) - 1;
  const Tensor blurred = filtered(sample, gaussian_taps(std::min(kMostTaps, most), sigma));
  return level.alpha * (blurred * mask + sample * (1 - mask)) + level.sigma * prediction.epsilon;
}

GuidanceEntry sag_guidance() {
  return {.name = "sag",
          .description = "Self-attention: away from a blurred input, where attention dwells",
          .paper = "2210.00939",
          .options = {{"scale", "0.75", "strength; 0: off"},
                      {"layers", "m0", "the block whose attention to watch"},
                      {"threshold", "1", "attention that a token must receive to be blurred"},
                      {"sigma", "1", "of the blur, in pixels of the latent"}},
          .make = make_sag};
}

}  // namespace tiller
