#include <ATen/ATen.h>

#include <cmath>

#include "guidance/registry.h"
#include "io/error.h"

namespace tiller {
namespace {

/// Where windows of `size` begin on a side, evenly spread from end to end.
struct Windows {
  int64_t size;
  std::vector<int64_t> begins;
};

struct SwgOptions {
  double scale = 0.2, window = 0.625;
  int64_t count = 2;
  bool masked = true;
};

/// Sliding Window Guidance, arXiv 2411.10257: D_p is the mean of what the network predicts for
/// overlapping windows alone, without their surroundings. D_c + s (D_c - D_p); masked (M-SWG): only
/// where windows overlap.
class SlidingWindow final : public Guidance {
 public:
  SlidingWindow(const SwgOptions& options, int64_t multiple)
      : options_(options), multiple_(multiple) {}

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (options_.scale == 0 || !answers.empty()) return {};
    rows_ = windows(step.x.size(2));
    columns_ = windows(step.x.size(3));
    seen_.assign(rows_.begins.size() * columns_.begins.size(), *step.positive);
    std::vector<Request> requests;
    for (const int64_t top : rows_.begins)
      for (const int64_t left : columns_.begins) {
        Conditioning& seen = seen_[requests.size()];
        if (seen.channels.defined()) seen.channels = crop(seen.channels, top, left);
        for (Control& control : seen.controls) {
          if (!control.net)
            throw UsageError(
                "guidance swg: got a T2I-Adapter, expected ControlNets or none: the windows "
                "would need features of their own.");
          control.hint = crop(control.hint, top, left);
        }
        requests.push_back({.branch = {&seen}, .input = crop(step.x, top, left)});
      }
    return requests;
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (options_.scale == 0) return {};
    const Tensor& conditional = answers[0];
    const Tensor sum = at::zeros_like(conditional);
    const Tensor count = at::zeros({conditional.size(2), conditional.size(3)}, sum.options());
    size_t next = 1;
    for (const int64_t top : rows_.begins)
      for (const int64_t left : columns_.begins) {
        crop(sum, top, left).add_(answers[next++]);
        crop(count, top, left).add_(1);
      }
    const Tensor difference = options_.scale * (conditional - sum / count);
    return options_.masked ? difference * (count > 1) : difference;
  }

 private:
  Windows windows(int64_t side) const {
    const int64_t cells = std::llround(options_.window * side / multiple_);
    const int64_t size = std::max<int64_t>(1, cells) * multiple_, room = side - size;
    if (room <= 0 || size * options_.count <= side)
      throw UsageError("guidance swg: window: got " + std::to_string(options_.count) +
                       " windows of " + std::to_string(size) + " on a side of " +
                       std::to_string(side) +
                       ", expected smaller ones that overlap, of multiples of " +
                       std::to_string(multiple_) + ".");
    Windows windows{size, {}};
    for (int64_t i = 0; i < options_.count; ++i)
      windows.begins.push_back(i * room / (options_.count - 1));
    return windows;
  }

  /// Of (..., H, W), as a view.
  Tensor crop(const Tensor& x, int64_t top, int64_t left) const {
    return x.narrow(-2, top, rows_.size).narrow(-1, left, columns_.size);
  }

  SwgOptions options_;
  int64_t multiple_;
  Windows rows_, columns_;
  std::vector<Conditioning> seen_;  // through each window
};

std::unique_ptr<Guidance> make_swg(const Options& options, GuidanceContext context) {
  SwgOptions swg{options.number("scale"), options.number("window", 0.1, 0.95),
                 options.integer("windows"), options.flag("masked")};
  if (swg.count < 2 || swg.count > 16)
    throw UsageError("windows: got '" + options.text("windows") +
                     "', expected a whole number from 2 to 16.");
  return std::make_unique<SlidingWindow>(swg, context.model.network->size_multiple());
}

}  // namespace

GuidanceEntry swg_guidance() {
  return {.name = "swg",
          .description = "Sliding window: away from what windows of the image give alone",
          .paper = "2411.10257",
          .options = {{"scale", "0.2", "strength; 0: off"},
                      {"window", "0.625", "a window's share of a side"},
                      {"windows", "2", "number of windows along a side"},
                      {"masked", "true", "only where windows overlap (M-SWG)"}},
          .make = make_swg};
}

}  // namespace tiller
