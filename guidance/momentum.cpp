#include <ATen/ATen.h>

#include "guidance/registry.h"
#include "guidance/space.h"

namespace tiller {
namespace {

/// Momentum Guidance, arXiv 2602.20360, equations 12 and 13: D + a (D - m), where m is the average
/// of the sums of the steps before, m' = (1 - b) D + b m, and D itself at the first.
class Momentum final : public Guidance {
 public:
  Momentum(double alpha, double beta, Space space) : alpha_(alpha), beta_(beta), space_(space) {}
  bool is_idle() const override { return alpha_ == 0; }
  bool remembers() const override { return !is_idle(); }
  void begin_run() override { average_ = Tensor(); }

  Combination finish(const GuidanceStep& step, Combination guided, const Tensor&) override {
    if (is_idle()) return guided;
    const Tensor now = into(space_, step, guided.tensor());
    const Tensor before = average_.defined() ? average_ : now;
    average_ = (1 - beta_) * now + beta_ * before;
    return guided.add(difference_from(space_, step, now - before), alpha_);
  }

 private:
  double alpha_, beta_;
  Space space_;
  Tensor average_;
};

}  // namespace

GuidanceEntry momentum_guidance() {
  return {.name = "momentum",
          .description = "Momentum: the sum goes on away from the average of those before",
          .paper = "2602.20360",
          .options = {{"alpha", "0.5", "how far; 0: off"},
                      {"beta", "0.6", "what the average keeps from step to step, 0 to 1"},
                      space_option("raw")},
          .make = [](const Options& options, GuidanceContext) -> std::unique_ptr<Guidance> {
            return std::make_unique<Momentum>(options.number("alpha", 0),
                                              options.number("beta", 0, 1), space_from(options));
          }};
}

}  // namespace tiller
