#include <ATen/ATen.h>

#include "guidance/perturbed.h"
#include "guidance/sinkhorn.h"
#include "io/error.h"

namespace tiller {
namespace {

/// Adversarial Sinkhorn Attention Guidance, arXiv 2511.07499, which has no official code.
/// Self-attention becomes the entropic transport plan whose cost is the similarity of query and
/// key: S = -q k^T / sqrt(d), potentials g by Sinkhorn's iteration (see sinkhorn.h), then
/// softmax_j(S_ij + g_j) v.
class AdversarialAttention final : public SitePerturbation {
 public:
  AdversarialAttention(std::vector<Site> sites, int64_t iterations)
      : SitePerturbation(std::move(sites)), iterations_(iterations) {}
  Kind kind() const override { return Kind::attention; }
  Tensor attention(const Site&, const Tensor& q, const Tensor& k, const Tensor& v) const override {
    return sinkhorn_attention(q, k, v, sinkhorn_potentials(q, k, iterations_));
  }

 private:
  int64_t iterations_;
};

int64_t iterations_from(const Options& options) {
  const int64_t iterations = options.integer("iterations");
  if (iterations < 0 || iterations > 1000)
    throw UsageError("iterations: got '" + options.text("iterations") +
                     "', expected a whole number from 0 to 1000.");
  return iterations;
}

}  // namespace

GuidanceEntry asag_guidance() {
  auto options = perturbed_options("1.5", "mid");
  options.push_back({"iterations", "2", "rounds of Sinkhorn's iteration; 0: negated attention"});
  return {.name = "asag",
          .description = "Adversarial Sinkhorn attention: away from attention to the unlike",
          .paper = "2511.07499",
          .options = options,
          .make = [](const Options& options, GuidanceContext context) {
            return perturbed_guidance(options.number("scale"),
                                      std::make_unique<AdversarialAttention>(
                                          std::move(context.sites), iterations_from(options)));
          }};
}

}  // namespace tiller
