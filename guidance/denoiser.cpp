#include "guidance/denoiser.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/control_net.h"

namespace tiller {
namespace {

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
};

bool same_input(const Request& a, const Request& b) {
  return a.network == b.network && a.input.is_same(b.input);
}

class GuidedDenoiser {
 public:
  GuidedDenoiser(const Model& model, std::span<ChosenGuidance> guidances, GuidedBatch batch,
                 bool share, GuidanceCost* cost)
      : model_(model), guidances_(guidances), batch_(std::move(batch)), share_(share), cost_(cost) {
    for (const auto& chosen : guidances_) {
      check(chosen);
      chosen.guidance->begin_run();
    }
    if (batch_.onlooker) batch_.onlooker->begin_run();
  }

  Prediction predict(const Tensor& x, const NoiseLevel& level) const {
    const std::vector<bool> active = active_at(level);
    now_ = conditionings_at(level);
    const GuidanceStep step = step_at(x, level, active);
    std::vector<Dialogue> dialogues;
    for (size_t i = 0; i < guidances_.size(); ++i)
      if (active[i]) dialogues.push_back({guidances_[i].guidance.get(), {}});
    if (batch_.onlooker) dialogues.push_back({batch_.onlooker.get(), {}});
    for (auto& dialogue : dialogues) dialogue.guidance->begin_step(step);
    if (batch_.control) batch_.control->begin_step(step.context);
    const Tensor raw = converse(step, dialogues);
    const Tensor guided = combined(step, dialogues, without_variance(raw));
    Prediction prediction = to_prediction(guided, x, level, model_.prediction);
    const Tensor renoise = renoised(step, dialogues);
    if (renoise.defined())
      prediction.renoise = to_prediction(renoise, x, level, model_.prediction).epsilon;
    if (model_.learned_variance) {
      const int64_t channels = model_.network->out_channels();
      prediction.variance = raw.narrow(1, channels, raw.size(1) - channels);
    }
    return prediction;
  }

 private:
  /// Throws Error unless the second half of the images has the seeds of the first: tokens that
  /// guidance shuffles stay together then.
  void require_pairs() const {
    const auto& seeds = batch_.seeds;
    const auto half = seeds.begin() + std::ptrdiff_t(seeds.size() / 2);
    if (seeds.size() % 2 || !std::equal(seeds.begin(), half, half))
      throw Error("seeds: got images that are no pairs, expected each edit's to be its source's.");
  }

  /// Whether the edits' control acts in a branch: not in other networks or on parts of the image.
  bool is_controlled(const GuidanceStep& step, const Request& request) const {
    if (!batch_.control || request.network) return false;
    if (request.input.defined() && request.input.sizes() != step.x.sizes()) return false;
    const Conditioning& own = *request.branch.conditioning;
    return batch_.control->in_all_branches() ||
           (own.context.is_same(step.positive->context) && own.label.is_same(step.positive->label));
  }

  void check(const ChosenGuidance& chosen) const {
    if (int(chosen.from * batch_.steps) >= int(chosen.to * batch_.steps))
      throw UsageError("guidance " + chosen.text +
                       ": its interval from=" + std::to_string(chosen.from).substr(0, 5) +
                       " to=" + std::to_string(chosen.to).substr(0, 5) + " holds none of the " +
                       std::to_string(batch_.steps) + " steps, expected a wider one.");
    const auto require = [&](bool needed, bool there, const std::string& what) {
      if (needed && !there)
        throw UsageError("guidance " + chosen.entry->name + ": got no " + what + ", expected one.");
    };
    require(chosen.entry->needs_negative, batch_.negative.has_value(), "negative conditioning");
    require(chosen.entry->needs_empty, batch_.empty.has_value(), "conditioning of an empty prompt");
  }

  /// What the networks read at a level: controls but those that act there are left out.
  GuidedBatch conditionings_at(const NoiseLevel& level) const {
    GuidedBatch now = batch_;
    const auto keep = [&](Conditioning& conditioning) {
      conditioning.controls = acting(conditioning.controls, step_of(level), batch_.steps);
    };
    keep(now.positive);
    if (now.negative) keep(*now.negative);
    if (now.empty) keep(*now.empty);
    return now;
  }

  GuidanceStep step_at(const Tensor& x, const NoiseLevel& level,
                       const std::vector<bool>& active) const {
    if (static_cast<int64_t>(batch_.seeds.size()) != x.size(0))
      throw Error("seeds: got " + std::to_string(batch_.seeds.size()) +
                  ", expected one for each of " + std::to_string(x.size(0)) + " images.");
    if (batch_.control) require_pairs();
    GuidanceStep step;
    step.context = {level.step, batch_.steps, batch_.seeds, x.size(2), x.size(3), x.device()};
    step.level = level;
    step.prediction = model_.prediction;
    step.x = x;
    step.positive = &now_.positive;
    step.negative = now_.negative ? &*now_.negative : nullptr;
    step.empty = now_.empty ? &*now_.empty : nullptr;
    for (size_t i = 0; i < guidances_.size(); ++i)
      step.asks_negative |= active[i] && guidances_[i].entry->needs_negative;
    return step;
  }

  /// The step that a level belongs to: the end of a run, which inversion asks about, to its last.
  int step_of(const NoiseLevel& level) const { return std::min(level.step, batch_.steps - 1); }

  /// Which guidances act at a level. All evaluations of a step follow its first one, whose sigma
  /// decides.
  std::vector<bool> active_at(const NoiseLevel& level) const {
    if (decided_step_ == level.step) return active_;
    const double sigma = level.sigma / level.alpha;
    active_.clear();
    const int now = step_of(level);
    for (const auto& chosen : guidances_)
      active_.push_back(int(chosen.from * batch_.steps) <= now &&
                        now < int(chosen.to * batch_.steps) && chosen.sigma_to < sigma &&
                        sigma <= chosen.sigma_from);
    decided_step_ = level.step;
    return active_;
  }

  /// Asks in stages until no guidance has a question left. Returns the network's raw output for the
  /// conditional branch.
  Tensor converse(const GuidanceStep& step, std::vector<Dialogue>& dialogues) const {
    std::vector<Asked> stage = {{{.branch = {step.positive}}, nullptr}};
    if (batch_.observer) stage.front().request.branch.observer = &batch_.observer;
    const Perturbation* cross = nullptr;
    for (const auto& dialogue : dialogues)
      if (const auto* own = dialogue.guidance->cross(step)) cross = own;
    Tensor conditional;
    for (;; stage.clear()) {
      for (auto& dialogue : dialogues) ask(step, dialogue, stage);
      for (auto& asked : stage)
        if (asked.request.branch.conditioning->context.is_same(step.positive->context))
          asked.request.branch.cross = cross;
      for (auto& asked : stage)
        if (is_controlled(step, asked.request)) asked.request.branch.control = batch_.control.get();
      if (stage.empty()) return conditional;
      const std::vector<Tensor> outputs = answer(step, stage);
      if (!conditional.defined()) {
        conditional = outputs[0];
        for (auto& dialogue : dialogues) dialogue.answers = {without_variance(conditional)};
      }
      for (size_t i = 0; i < stage.size(); ++i)
        if (stage[i].dialogue) stage[i].dialogue->answers.push_back(without_variance(outputs[i]));
    }
  }

  static void ask(const GuidanceStep& step, Dialogue& dialogue, std::vector<Asked>& stage) {
    if (dialogue.over) return;
    const auto requests = dialogue.guidance->requests(step, dialogue.answers);
    dialogue.over = requests.empty() && !dialogue.answers.empty();
    for (const auto& request : requests) stage.push_back({request, &dialogue});
  }

  /// Raw outputs in float32, in the order of `stage`: one batch for each network and input.
  std::vector<Tensor> answer(const GuidanceStep& step, const std::vector<Asked>& stage) const {
    std::vector<Tensor> outputs(stage.size());
    for (size_t first = 0; first < stage.size(); ++first) {
      if (outputs[first].defined()) continue;
      std::vector<size_t> together;
      std::vector<Branch> branches;
      for (size_t i = first; i < stage.size(); ++i) {
        if (!same_input(stage[first].request, stage[i].request)) continue;
        together.push_back(i);
        branches.push_back(stage[i].request.branch);
      }
      const std::vector<Tensor> answers = evaluate_together(step, stage[first].request, branches);
      for (size_t i = 0; i < together.size(); ++i) outputs[together[i]] = answers[i];
    }
    return outputs;
  }

  std::vector<Tensor> evaluate_together(const GuidanceStep& step, const Request& request,
                                        const std::vector<Branch>& branches) const {
    const Network& network = request.network ? *request.network : *model_.network;
    const Tensor& input = request.input.defined() ? request.input : step.x;
    const Tensor scaled = input.to(at::kFloat) * input_scale(step.level, model_.prediction);
    const Tensor t = step.level.timesteps.defined()
                         ? step.level.timesteps.to(scaled.options())
                         : at::full({scaled.size(0)}, step.level.timestep, scaled.options());
    Answers answers = evaluate(network, scaled, t, branches, share_);
    if (cost_) {
      cost_->flops.spent += answers.flops.spent;
      cost_->flops.unshared += answers.flops.unshared;
      cost_->evaluations += 1;
      cost_->branches += static_cast<int64_t>(branches.size());
    }
    for (Tensor& output : answers.outputs) output = output.to(at::kFloat);
    return std::move(answers.outputs);
  }

  /// The first channels are the prediction; guided-diffusion's networks put a variance behind.
  Tensor without_variance(const Tensor& output) const {
    return output.narrow(1, 0, model_.network->out_channels());
  }

  /// The raw output to noise samples with; undefined: the guided one.
  static Tensor renoised(const GuidanceStep& step, const std::vector<Dialogue>& dialogues) {
    Tensor renoise;
    for (const auto& dialogue : dialogues) {
      const Tensor own = dialogue.guidance->renoise(step, dialogue.answers);
      if (own.defined()) renoise = own;
    }
    return renoise;
  }

  /// D_c + sum_i delta_i, then post-processing.
  static Tensor combined(const GuidanceStep& step, const std::vector<Dialogue>& dialogues,
                         const Tensor& conditional) {
    Tensor guided = conditional;
    for (const auto& dialogue : dialogues) {
      const Tensor delta = dialogue.guidance->delta(step, dialogue.answers);
      if (delta.defined()) guided = guided + delta;
    }
    for (const auto& dialogue : dialogues)
      guided = dialogue.guidance->finish(step, guided, conditional);
    return guided;
  }

  const Model& model_;
  std::span<ChosenGuidance> guidances_;
  GuidedBatch batch_;
  bool share_;
  GuidanceCost* cost_;
  mutable GuidedBatch now_;  // conditionings of the evaluation that is going on
  mutable int decided_step_ = -1;
  mutable std::vector<bool> active_;
};

}  // namespace

Denoiser guided_denoiser(const Model& model, std::span<ChosenGuidance> guidances, GuidedBatch batch,
                         bool share, GuidanceCost* cost) {
  const auto denoiser =
      std::make_shared<const GuidedDenoiser>(model, guidances, std::move(batch), share, cost);
  return
      [denoiser](const Tensor& x, const NoiseLevel& level) { return denoiser->predict(x, level); };
}

}  // namespace tiller
