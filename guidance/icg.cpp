#include <ATen/ATen.h>

#include "guidance/draw.h"
#include "guidance/registry.h"
#include "io/error.h"
#include "models/sent.h"

namespace tiller {
namespace {

constexpr uint32_t kConditionStream = 1;

/// Gaussian numbers with the spread that each image's embedding has.
Tensor random_like(const Tensor& embedding, const StepContext& step, uint32_t stream) {
  if (!embedding.defined()) return {};
  const Tensor noise = step_noise(step, stream, embedding.sizes().slice(1)).to(embedding.device());
  std::vector<int64_t> shape(embedding.dim(), 1);
  shape.front() = embedding.size(0);
  const Tensor spread = embedding.to(at::kFloat).flatten(1).std(1, /*unbiased=*/true);
  return (noise * spread.reshape(shape)).to(embedding.scalar_type());
}

/// Independent Condition Guidance, arXiv 2407.02687: the place of the unconditional prediction is
/// taken by one for a condition drawn at random at each step, so the model needs no null label.
class IndependentCondition final : public Guidance {
 public:
  IndependentCondition(double scale, int64_t classes) : scale_(scale), classes_(classes) {}

  void begin_step(const GuidanceStep& step) override {
    if (scale_ == 1) return;
    drawn_ = *step.positive;
    if (drawn_.label.defined()) drawn_.label = random_labels(step.context);
    drawn_.context = random_like(step.positive->context, step.context, kConditionStream);
    drawn_.pooled = random_like(step.positive->pooled, step.context, kConditionStream + 1);
  }

  std::vector<Request> requests(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (scale_ == 1 || !answers.empty()) return {};
    return {{.branch = {&drawn_}}};
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (scale_ == 1) return {};
    return (scale_ - 1) * difference(answers[0], answers[1]);
  }

 private:
  Tensor random_labels(const StepContext& step) const {
    std::vector<Tensor> labels;
    for (const uint64_t seed : step.seeds)
      labels.push_back(at::randint(classes_, {}, step_generator(seed, step.step, kConditionStream),
                                   at::TensorOptions(at::kLong)));
    return sent(at::stack(labels), step.device);
  }

  double scale_;
  int64_t classes_;
  Conditioning drawn_;
};

}  // namespace

GuidanceEntry icg_guidance() {
  return {.name = "icg",
          .description = "Independent condition: away from the prediction for a random condition",
          .paper = "2407.02687",
          .options = {{"scale", "3", "guidance scale; 1: off"}},
          .make = [](const Options& options, GuidanceContext context) -> std::unique_ptr<Guidance> {
            if (!context.model.reads_text() && context.model.classes == 0)
              throw UsageError("got a model that knows no labels, expected a conditional one.");
            return std::make_unique<IndependentCondition>(options.number("scale"),
                                                          context.model.classes);
          }};
}

}  // namespace tiller
