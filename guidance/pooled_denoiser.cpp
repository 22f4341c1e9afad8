#include "guidance/pooled_denoiser.h"

#include <ATen/ATen.h>

#include "guidance/branch_pool.h"
#include "guidance/shared_answers.h"
#include "io/error.h"

namespace tiller {
namespace {

/// A guidance of which there is one for all steps.
class SharedGuidance final : public Guidance {
 public:
  explicit SharedGuidance(Guidance& one) : one_(one) {}
  Alterations alterations() const override { return one_.alterations(); }
  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    return one_.requests(step, answers);
  }
  Combination delta(const GuidanceStep& step, std::span<const Tensor> answers) override {
    return one_.delta(step, answers);
  }

 private:
  Guidance& one_;
};

ChosenGuidance shared_with(const ChosenGuidance& chosen) {
  return {chosen.text,       chosen.entry,
          chosen.from,       chosen.to,
          chosen.sigma_from, chosen.sigma_to,
          chosen.sites,      std::make_unique<SharedGuidance>(*chosen.guidance)};
}

/// A question, who asks it and which of theirs it is.
struct Asking {
  size_t asker, index;
  Question question;
};

class PooledDenoiser {
 public:
  PooledDenoiser(const Model& model, std::vector<std::vector<ChosenGuidance>> sets,
                 const GuidedBatch& batch, bool share, GuidanceCost* cost)
      : sets_(std::move(sets)), share_(share), cost_(cost), together_(batch.together) {
    if (batch.cache)
      throw UsageError("cache " + batch.cache->text +
                       ": needs one step after the other, expected none for steps side by side.");
    for (auto& set : sets_) {
      for (const auto& chosen : set) require_forgetful(chosen);
      conversations_.emplace_back(model, set, batch);
    }
  }

  std::vector<Prediction> predict(std::span<const Tensor> x, std::span<const NoiseLevel> levels) {
    if (x.size() > conversations_.size())
      throw Error("window: got " + std::to_string(x.size()) + " steps at once, expected at most " +
                  std::to_string(conversations_.size()) + ".");
    const auto talking = std::span(conversations_).first(x.size());
    for (size_t i = 0; i < x.size(); ++i) talking[i].begin(x[i], levels[i]);
    while (converse(talking)) continue;
    if (cost_) cost_->windows += 1;
    std::vector<Prediction> predictions;
    for (size_t i = 0; i < x.size(); ++i) {
      predictions.push_back(talking[i].finish());
      if (cost_) cost_->window_steps += x[i].size(0);
    }
    return predictions;
  }

 private:
  static void require_forgetful(const ChosenGuidance& chosen) {
    if (chosen.guidance->remembers())
      throw UsageError("guidance " + chosen.text +
                       ": remembers the steps before, expected none that does for steps side by "
                       "side (apg: momentum=0).");
  }

  /// One stage of all. Returns whether anything was asked.
  bool converse(std::span<Conversation> talking) {
    std::vector<Asking> asking;
    std::vector<std::vector<std::vector<Tensor>>> answers(talking.size());
    for (size_t i = 0; i < talking.size(); ++i) {
      auto questions = talking[i].ask();
      answers[i].resize(questions.size());
      for (size_t q = 0; q < questions.size(); ++q) asking.push_back({i, q, questions[q]});
    }
    std::vector<bool> done(asking.size());
    for (size_t first = 0; first < asking.size(); ++first) {
      if (done[first]) continue;
      std::vector<const Asking*> together;
      for (size_t i = first; i < asking.size(); ++i) {
        if (done[i] || !poolable(asking[first].question, asking[i].question)) continue;
        done[i] = true;
        together.push_back(&asking[i]);
      }
      const auto outputs = answer(together, talking);
      for (size_t i = 0; i < together.size(); ++i)
        answers[together[i]->asker][together[i]->index] = outputs[i];
    }
    for (size_t i = 0; i < talking.size(); ++i)
      if (!answers[i].empty()) talking[i].hear(answers[i]);
    return !asking.empty();
  }

  /// Asks all in one batch, or in one for each of the processes that share them. Returns the
  /// outputs of each one's branches.
  std::vector<std::vector<Tensor>> answer(const std::vector<const Asking*>& together,
                                          std::span<const Conversation> talking) const {
    if (!together_) return evaluated(together, talking);
    std::vector<Question> questions;
    std::vector<int> owners;
    std::vector<size_t> places;
    std::vector<const Asking*> mine;
    for (size_t i = 0; i < together.size(); ++i) {
      questions.push_back(together[i]->question);
      owners.push_back(int(i * size_t(together_->world()) / together.size()));
      if (owners[i] != together_->rank()) continue;
      places.push_back(i);
      mine.push_back(together[i]);
    }
    std::vector<std::vector<Tensor>> answers(together.size());
    if (!mine.empty()) {
      auto own = evaluated(mine, talking);
      for (size_t i = 0; i < mine.size(); ++i) answers[places[i]] = std::move(own[i]);
    }
    exchange_answers(*together_, questions, owners, answers);
    return answers;
  }

  std::vector<std::vector<Tensor>> evaluated(const std::vector<const Asking*>& together,
                                             std::span<const Conversation> talking) const {
    std::vector<const Question*> questions;
    std::vector<Tensor> inputs, timesteps;
    for (const auto* one : together) {
      questions.push_back(&one->question);
      const auto [scaled, t] = talking[one->asker].network_input(one->question);
      inputs.push_back(scaled), timesteps.push_back(t);
    }
    const BranchPool pool(questions);
    const auto outputs = answered(*questions.front()->network, at::cat(inputs), at::cat(timesteps),
                                  pool.branches(), share_, cost_);
    if (cost_)  // one step's are counted
      cost_->branches += std::ssize(pool.branches()) * (std::ssize(questions) - 1);
    std::vector<std::vector<Tensor>> shares(together.size());
    for (const Tensor& output : outputs) {
      const auto rows = output.chunk(int64_t(together.size()));
      for (size_t i = 0; i < together.size(); ++i) shares[i].push_back(rows[i]);
    }
    return shares;
  }

  std::vector<std::vector<ChosenGuidance>> sets_;
  std::vector<Conversation> conversations_;
  bool share_;
  GuidanceCost* cost_;
  ProcessGroup* together_;
};

}  // namespace

std::vector<std::vector<ChosenGuidance>> guidance_sets(std::span<const ChosenGuidance> chosen,
                                                       const Model& model, size_t count) {
  std::vector<std::vector<ChosenGuidance>> sets(count);
  for (auto& set : sets)
    for (const auto& one : chosen) {
      if (one.guidance->is_stateless())
        set.push_back(shared_with(one));
      else
        set.push_back(std::move(choose_guidances({one.text}, model).front()));
    }
  return sets;
}

WindowDenoiser pooled_denoiser(const Model& model, std::vector<std::vector<ChosenGuidance>> sets,
                               GuidedBatch batch, bool share, GuidanceCost* cost) {
  const auto denoiser =
      std::make_shared<PooledDenoiser>(model, std::move(sets), batch, share, cost);
  return [denoiser](std::span<const Tensor> x, std::span<const NoiseLevel> levels) {
    return denoiser->predict(x, levels);
  };
}

}  // namespace tiller
