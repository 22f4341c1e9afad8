#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <map>

#include "guidance/filter.h"
#include "guidance/perturbed.h"
#include "guidance/seg.h"
#include "models/attention.h"

namespace tiller {
namespace {

constexpr double kInfiniteSigma = 9999;  // the authors' code takes the mean above

/// Smoothed Energy Guidance, arXiv 2408.00760: self-attention with blurred queries,
/// softmax(G(q) k^T / sqrt(d)) v, with G a Gaussian over the token grid.
class SmoothedQueries final : public SitePerturbation {
 public:
  SmoothedQueries(std::vector<Site> sites, double sigma)
      : SitePerturbation(std::move(sites)), sigma_(sigma) {}
  Kind kind() const override { return Kind::attention; }

  void begin_step(const StepContext& step) override {
    if (sigma_ > kInfiniteSigma) return;
    for (const Site& site : sites()) {
      const Grid grid = token_grid(site, step.height, step.width);
      blurs_[site.order] = {line_blur(grid.height, step.device),
                            line_blur(grid.width, step.device)};
    }
  }

  Tensor attention(const Site& site, const Tensor& q, const Tensor& k,
                   const Tensor& v) const override {
    if (sigma_ > kInfiniteSigma) return tiller::attention(q.mean(2, true), k, v).expand(v.sizes());
    const auto& [rows, columns] = blurs_.at(site.order);
    return tiller::attention(blur_tokens(q, rows, columns), k, v);
  }

 private:
  /// Made once, so that recorded evaluations find it where it was.
  const Tensor& line_blur(int64_t size, at::Device device) {
    Tensor& blur = lines_[size];
    if (!blur.defined() || blur.device() != device) blur = blur_matrix(size, sigma_).to(device);
    return blur;
  }

  double sigma_;
  std::map<int64_t, Tensor> lines_;  ///< By their number of tokens.
  std::map<int, std::pair<Tensor, Tensor>> blurs_;
};

}  // namespace

Tensor blur_matrix(int64_t size, double sigma) {
  const auto odd = [](int64_t n) { return n + 1 - n % 2; };
  const double wanted = std::min(std::ceil(6 * sigma), double(size));
  const int64_t radius = std::min(odd(int64_t(wanted)), odd(size)) / 2;
  return line_filter(size, gaussian_taps(2 * radius + 1, sigma));
}

Tensor blur_tokens(const Tensor& x, const Tensor& rows, const Tensor& columns) {
  const int64_t height = rows.size(0), width = columns.size(0), channels = x.size(3);
  const Tensor grid = x.to(at::kFloat).reshape({-1, height, width * channels});
  const Tensor down = at::matmul(rows, grid).reshape({-1, width, channels});
  return at::matmul(columns, down).reshape(x.sizes()).to(x.scalar_type());
}

GuidanceEntry seg_guidance() {
  auto options = perturbed_options("3", "mid");
  options.push_back({"sigma", "inf", "of the blur, in tokens; inf: every query is the mean"});
  return {.name = "seg",
          .description = "Smoothed energy: away from the prediction with blurred queries",
          .paper = "2408.00760",
          .options = options,
          .make = [](const Options& options, GuidanceContext context) {
            const double infinity = std::numeric_limits<double>::infinity();
            const double sigma = options.number("sigma", 0.01, infinity);
            return perturbed_guidance(
                options.number("scale"),
                std::make_unique<SmoothedQueries>(std::move(context.sites), sigma));
          }};
}

}  // namespace tiller
