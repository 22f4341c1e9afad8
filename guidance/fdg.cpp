#include <ATen/ATen.h>

#include <charconv>

#include "guidance/cfg_form.h"
#include "guidance/filter.h"
#include "io/error.h"

namespace tiller {
namespace {

constexpr int64_t kTaps = 5;
constexpr size_t kMaxLevels = 8;

Tensor smoothed(const Tensor& x) {
  return filtered(x, at::tensor({1.0, 4.0, 6.0, 4.0, 1.0}, at::kDouble) / 16);
}

Tensor enlarged(const Tensor& x) {
  return smoothed(at::upsample_bilinear2d(x, {2 * x.size(2), 2 * x.size(3)}, false));
}

/// The Laplacian pyramid of (B, C, H, W), finest first; sides are multiples of 2^(levels - 1).
std::vector<Tensor> pyramid(Tensor x, size_t levels) {
  std::vector<Tensor> bands;
  while (bands.size() + 1 < levels) {
    const Tensor half = at::avg_pool2d(smoothed(x), 2);
    bands.push_back(x - enlarged(half));
    x = half;
  }
  bands.push_back(x);
  return bands;
}

Tensor rebuilt(std::vector<Tensor> bands) {
  Tensor x = bands.back();
  for (bands.pop_back(); !bands.empty(); bands.pop_back()) x = enlarged(x) + bands.back();
  return x;
}

/// Frequency-Decoupled Guidance, arXiv 2506.19713: classifier-free guidance in each band of a
/// Laplacian pyramid, with a scale for each, finest first; `parallel` weighs a band's part along
/// D_c.
class FrequencyDecoupled final : public CfgForm {
 public:
  FrequencyDecoupled(std::vector<double> scales, std::vector<double> parallel)
      : CfgForm(Space::raw, is_one(scales) && is_one(parallel)),
        scales_(std::move(scales)),
        parallel_(std::move(parallel)) {}

 private:
  static bool is_one(const std::vector<double>& weights) {
    return std::all_of(weights.begin(), weights.end(), [](double w) { return w == 1; });
  }

  Tensor combine(const GuidanceStep&, const Tensor& c, const Tensor& u) override {
    const auto conditional = pyramid(padded(c), scales_.size());
    auto bands = pyramid(padded(u), scales_.size());
    for (size_t i = 0; i < bands.size(); ++i)
      bands[i] = bands[i] + scales_[i] * weighted(conditional[i] - bands[i], conditional[i], i);
    return rebuilt(std::move(bands)).narrow(2, 0, c.size(2)).narrow(3, 0, c.size(3));
  }

  Tensor weighted(const Tensor& difference, const Tensor& c, size_t band) const {
    if (parallel_[band] == 1) return difference;
    const Tensor along = image_dot(difference, c) / image_dot(c, c).clamp_min(1e-24) * c;
    return (difference + (parallel_[band] - 1) * along).to(c.scalar_type());
  }

  /// Repeats the edges to the right and below up to whole cells of the coarsest band.
  Tensor padded(const Tensor& x) const {
    const int64_t cell = int64_t{1} << (scales_.size() - 1), height = x.size(2), width = x.size(3);
    if (scales_.size() > 1 && std::min(height, width) < kTaps / 2 * cell)
      throw UsageError("guidance fdg: scales: got " + std::to_string(scales_.size()) +
                       " bands, expected fewer for a prediction of " + std::to_string(height) +
                       " x " + std::to_string(width) + ".");
    const int64_t below = (cell - height % cell) % cell, right = (cell - width % cell) % cell;
    return below || right ? at::replication_pad2d(x, {0, right, 0, below}) : x;
  }

  std::vector<double> scales_, parallel_;
};

/// "10+5" as one number a band.
std::vector<double> numbers_from(const Options& options, const std::string& name) {
  const std::string text = options.text(name);
  std::vector<double> numbers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('+', begin), text.size());
    const Options one{{{name, text.substr(begin, end - begin)}}};
    numbers.push_back(one.number(name));
    begin = end + 1;
  }
  if (numbers.size() > kMaxLevels)
    throw UsageError(name + ": got " + std::to_string(numbers.size()) + " bands, expected " +
                     std::to_string(kMaxLevels) + " at most.");
  return numbers;
}

std::unique_ptr<Guidance> make_fdg(const Options& options, GuidanceContext) {
  const auto scales = numbers_from(options, "scales");
  auto parallel = numbers_from(options, "parallel");
  if (parallel.size() == 1) parallel.resize(scales.size(), parallel.front());
  if (parallel.size() != scales.size())
    throw UsageError("parallel: got " + std::to_string(parallel.size()) + " bands, expected " +
                     std::to_string(scales.size()) + " as in scales.");
  return std::make_unique<FrequencyDecoupled>(scales, parallel);
}

}  // namespace

GuidanceEntry fdg_guidance() {
  return {.name = "fdg",
          .description = "Frequency-decoupled: cfg with a scale for each band of frequencies",
          .paper = "2506.19713",
          .options = {{"scales", "10+5", "guidance scale of each band, finest first"},
                      {"parallel", "1", "share kept along the conditional prediction, a band"}},
          .needs_negative = true,
          .family = "cfg",
          .make = make_fdg};
}

}  // namespace tiller
