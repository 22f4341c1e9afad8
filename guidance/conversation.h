#pragma once
#include "guidance/denoiser.h"
#include "models/feature_memory.h"

namespace tiller {

/// Branches that read the same input, for one batch.
struct Question {
  const Network* network = nullptr;
  Tensor input;  ///< (B, C, H, W), not yet scaled for the network.
  std::vector<Branch> branches;
  std::vector<Asker> askers;  ///< One a branch.
};

/// A guided prediction in stages, for those who ask networks: begin, then `ask` and `hear` until
/// nothing is asked any more, then finish. The model and guidances must outlive it.
class Conversation {
 public:
  Conversation(const Model&, std::span<ChosenGuidance>, GuidedBatch);
  Conversation(Conversation&&) = default;

  void begin(const Tensor& x, const NoiseLevel&);
  std::vector<Question> ask();
  /// What a question's network is shown: the input scaled, (B, C, H, W), and timesteps, (B).
  std::pair<Tensor, Tensor> network_input(const Question&) const;
  /// answers: a network's raw outputs, float32, one for each branch of each question.
  void hear(const std::vector<std::vector<Tensor>>& answers);
  Prediction finish();

 private:
  /// What one guidance and the network say to each other at a step.
  struct Dialogue {
    Guidance* guidance;
    std::vector<Tensor> answers;
    bool over = false;
  };
  /// A request and the dialogue that it belongs to; nullptr: the conditional prediction, for all.
  struct Asked {
    Request request;
    Dialogue* dialogue;
    Asker asker = {};
  };

  void check(const ChosenGuidance&) const;
  void require_pairs() const;
  bool is_controlled(const Request&) const;
  GuidedBatch conditionings_at(const NoiseLevel&) const;
  GuidanceStep step_at(const Tensor& x, const NoiseLevel&) const;
  int step_of(const NoiseLevel&) const;
  void decide(const NoiseLevel&);
  void ask(Dialogue&);
  void steer(Asked&) const;
  std::vector<Question> questions();
  Tensor without_variance(const Tensor& output) const;
  Tensor renoised() const;
  Combination combined() const;

  const Model* model_;
  std::span<ChosenGuidance> guidances_;
  GuidedBatch batch_;
  GuidedBatch now_;  // conditionings of the evaluation that is going on
  int decided_step_ = -1;
  std::vector<bool> active_;
  GuidanceStep step_;
  std::vector<Dialogue> dialogues_;
  const Perturbation* cross_ = nullptr;
  Alterations altered_;
  std::vector<Asked> stage_;
  std::vector<std::vector<size_t>> places_;  // in stage_, of each question's branches
  Tensor raw_;                               // the conditional branch's output
  Tensor conditional_;                       // of it, D_c
};

}  // namespace tiller
