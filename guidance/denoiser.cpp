#include "guidance/denoiser.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "guidance/conversation.h"
#include "guidance/evaluation_graphs.h"
#include "guidance/shared_answers.h"
#include "io/error.h"
#include "models/feature_memory.h"

namespace tiller {
namespace {

class GuidedDenoiser {
 public:
  GuidedDenoiser(const Model& model, std::span<ChosenGuidance> guidances, GuidedBatch batch,
                 bool share, GuidanceCost* cost)
      : share_(share),
        cost_(cost),
        together_(batch.together),
        keeps_prompts_(batch.keeps_prompts && share),
        graphs_(batch.graphs),
        memory_(memory_of(batch)),
        conversation_(model, guidances, std::move(batch)) {}

  Prediction predict(const Tensor& x, const NoiseLevel& level) {
    conversation_.begin(x, level);
    if (memory_) memory_->begin_step(level.step);
    prompts_.begin_step();
    const Answerer answerer = [this](const Question& question) { return answer(question); };
    for (;;) {
      const std::vector<Question> questions = conversation_.ask();
      if (questions.empty()) return conversation_.finish();
      conversation_.hear(shared_answers(together_, questions, answerer));
    }
  }

 private:
  static std::optional<FeatureMemory> memory_of(const GuidedBatch& batch) {
    if (!batch.cache) return std::nullopt;
    if (batch.together)
      throw UsageError("cache " + batch.cache->text +
                       ": needs all branches in one process, expected none for branches in "
                       "several.");
    return FeatureMemory(*batch.cache);
  }

  std::vector<Tensor> answer(const Question& question) {
    const auto [scaled, t] = conversation_.network_input(question);
    if (memory_) memory_->expect(question.askers);
    const bool keeps_prompts = keeps_prompts_ && !at::GradMode::is_enabled();
    return answered(*question.network, scaled, t, question.branches, share_, cost_,
                    {.memory = memory_ ? &*memory_ : nullptr,
                     .prompts = keeps_prompts ? &prompts_ : nullptr,
                     .graphs = graphs_.get()});
  }

  bool share_;
  GuidanceCost* cost_;
  ProcessGroup* together_;
  bool keeps_prompts_;
  PromptMemory prompts_;
  std::shared_ptr<EvaluationGraphs> graphs_;
  std::optional<FeatureMemory> memory_;
  Conversation conversation_;
};

}  // namespace

std::vector<Tensor> answered(const Network& network, const Tensor& x, const Tensor& t,
                             std::span<const Branch> branches, bool share, GuidanceCost* cost,
                             const Kept& kept) {
  Answers answers = kept.graphs && !kept.memory
                        ? kept.graphs->evaluate(network, x, t, branches, share, kept.prompts)
                        : evaluate(network, x, t, branches, share, kept.memory, kept.prompts);
  if (cost) {
    cost->flops.spent += answers.flops.spent;
    cost->flops.unshared += answers.flops.unshared;
    cost->evaluations += 1;
    cost->branches += static_cast<int64_t>(branches.size());
    cost->reused += kept.memory && kept.memory->reused();
  }
  for (Tensor& output : answers.outputs) output = output.to(at::kFloat);
  return std::move(answers.outputs);
}

Denoiser guided_denoiser(const Model& model, std::span<ChosenGuidance> guidances, GuidedBatch batch,
                         bool share, GuidanceCost* cost) {
  const auto denoiser =
      std::make_shared<GuidedDenoiser>(model, guidances, std::move(batch), share, cost);
  return
      [denoiser](const Tensor& x, const NoiseLevel& level) { return denoiser->predict(x, level); };
}

}  // namespace tiller
