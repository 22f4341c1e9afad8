#include "guidance/conversation.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/control_net.h"

namespace tiller {
namespace {

bool same_input(const Request& a, const Request& b) {
  return a.network == b.network && a.input.is_same(b.input);
}

}  // namespace

Conversation::Conversation(const Model& model, std::span<ChosenGuidance> guidances,
                           GuidedBatch batch)
    : model_(&model), guidances_(guidances), batch_(std::move(batch)) {
  for (const auto& chosen : guidances_) {
    check(chosen);
    chosen.guidance->begin_run();
  }
  if (batch_.onlooker) batch_.onlooker->begin_run();
}

void Conversation::begin(const Tensor& x, const NoiseLevel& level) {
  decide(level);
  now_ = conditionings_at(level);
  step_ = step_at(x, level);
  dialogues_.clear();
  for (size_t i = 0; i < guidances_.size(); ++i)
    if (active_[i]) dialogues_.push_back({guidances_[i].guidance.get(), {}});
  if (batch_.onlooker) dialogues_.push_back({batch_.onlooker.get(), {}});
  for (auto& dialogue : dialogues_) dialogue.guidance->begin_step(step_);
  if (batch_.control) batch_.control->begin_step(step_.context);
  cross_ = nullptr;
  altered_ = {};
  for (const auto& dialogue : dialogues_) {
    if (const auto* own = dialogue.guidance->cross(step_)) cross_ = own;
    const Alterations own = dialogue.guidance->alterations();
    if (own.text) altered_.text = own.text;
    if (own.skips) altered_.skips = own.skips;
  }
  raw_ = conditional_ = Tensor();
}

std::vector<Question> Conversation::ask() {
  stage_.clear();
  if (!raw_.defined()) {
    stage_.push_back({{.branch = {step_.positive}}, nullptr});
    if (batch_.observer) stage_.front().request.branch.observer = &batch_.observer;
  }
  for (auto& dialogue : dialogues_) ask(dialogue);
  for (auto& asked : stage_) steer(asked);
  return questions();
}

std::pair<Tensor, Tensor> Conversation::network_input(const Question& question) const {
  const NoiseLevel& level = step_.level;
  const Tensor scaled = question.input.to(at::kFloat) * input_scale(level, model_->prediction);
  const Tensor t = level.timesteps.defined()
                       ? level.timesteps.to(scaled.options())
                       : at::full({scaled.size(0)}, level.timestep, scaled.options());
  return {scaled, t};
}

void Conversation::hear(const std::vector<std::vector<Tensor>>& answers) {
  std::vector<Tensor> outputs(stage_.size());
  for (size_t q = 0; q < places_.size(); ++q)
    for (size_t i = 0; i < places_[q].size(); ++i) outputs[places_[q][i]] = answers[q][i];
  if (!raw_.defined()) {
    raw_ = outputs[0];
    conditional_ = without_variance(raw_);
    for (auto& dialogue : dialogues_) dialogue.answers = {conditional_};
  }
  for (size_t i = 0; i < stage_.size(); ++i)
    if (stage_[i].dialogue) stage_[i].dialogue->answers.push_back(without_variance(outputs[i]));
}

Prediction Conversation::finish() {
  Prediction prediction = to_prediction(combined(), step_.x, step_.level, model_->prediction);
  const Tensor renoise = renoised();
  if (renoise.defined())
    prediction.renoise = to_prediction(renoise, step_.x, step_.level, model_->prediction).epsilon;
  if (model_->learned_variance) {
    const int64_t channels = model_->network->out_channels();
    prediction.variance = raw_.narrow(1, channels, raw_.size(1) - channels);
  }
  return prediction;
}

/// Throws Error unless the second half of the images has the seeds of the first: tokens that
/// guidance shuffles stay together then.
void Conversation::require_pairs() const {
  const auto& seeds = batch_.seeds;
  const auto half = seeds.begin() + std::ptrdiff_t(seeds.size() / 2);
  if (seeds.size() % 2 || !std::equal(seeds.begin(), half, half))
    throw Error("seeds: got images that are no pairs, expected each edit's to be its source's.");
}

/// Whether the edits' control acts in a branch: not in other networks or on parts of the image.
bool Conversation::is_controlled(const Request& request) const {
  if (!batch_.control || request.network) return false;
  if (request.input.defined() && request.input.sizes() != step_.x.sizes()) return false;
  const Conditioning& own = *request.branch.conditioning;
  return batch_.control->in_all_branches() ||
         (own.context.is_same(step_.positive->context) && own.label.is_same(step_.positive->label));
}

void Conversation::check(const ChosenGuidance& chosen) const {
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

/// What the networks read at a level: what prompts say there, and the controls that act there.
GuidedBatch Conversation::conditionings_at(const NoiseLevel& level) const {
  GuidedBatch now = batch_;
  const int step = step_of(level);
  const auto keep = [&](Conditioning& conditioning, const std::vector<StepPrompts>& prompts) {
    conditioning.controls = acting(conditioning.controls, step, batch_.steps);
    if (prompts.empty()) return;
    const auto& [context, pooled] = prompts.at(size_t(step));
    conditioning.context = context;
    conditioning.pooled = pooled;
  };
  keep(now.positive, batch_.positive_at);
  if (now.negative) keep(*now.negative, batch_.negative_at);
  if (now.empty) keep(*now.empty, {});
  if (now.without_image) keep(*now.without_image, batch_.negative_at);
  return now;
}

GuidanceStep Conversation::step_at(const Tensor& x, const NoiseLevel& level) const {
  if (static_cast<int64_t>(batch_.seeds.size()) != x.size(0))
    throw Error("seeds: got " + std::to_string(batch_.seeds.size()) +
                ", expected one for each of " + std::to_string(x.size(0)) + " images.");
  if (batch_.control) require_pairs();
  GuidanceStep step;
  step.context = {level.step, batch_.steps, batch_.seeds, x.size(2), x.size(3), x.device()};
  step.level = level;
  step.prediction = model_->prediction;
  step.x = x;
  step.positive = &now_.positive;
  step.negative = now_.negative ? &*now_.negative : nullptr;
  step.empty = now_.empty ? &*now_.empty : nullptr;
  step.without_image = now_.without_image ? &*now_.without_image : nullptr;
  for (size_t i = 0; i < guidances_.size(); ++i)
    step.asks_negative |=
        active_[i] && guidances_[i].entry->family == "cfg" && !guidances_[i].guidance->is_idle();
  return step;
}

/// The step that a level belongs to: the end of a run, which inversion asks about, to its last.
int Conversation::step_of(const NoiseLevel& level) const {
  return std::min(level.step, batch_.steps - 1);
}

/// Which guidances act at a level. All evaluations of a step follow its first one, whose sigma
/// decides.
void Conversation::decide(const NoiseLevel& level) {
  if (decided_step_ == level.step) return;
  const double sigma = level.sigma / level.alpha;
  active_.clear();
  const int now = step_of(level);
  for (const auto& chosen : guidances_)
    active_.push_back(int(chosen.from * batch_.steps) <= now &&
                      now < int(chosen.to * batch_.steps) && chosen.sigma_to < sigma &&
                      sigma <= chosen.sigma_from);
  decided_step_ = level.step;
}

void Conversation::ask(Dialogue& dialogue) {
  if (dialogue.over) return;
  const auto requests = dialogue.guidance->requests(step_, dialogue.answers);
  dialogue.over = requests.empty() && !dialogue.answers.empty();
  for (size_t i = 0; i < requests.size(); ++i)
    stage_.push_back({requests[i], &dialogue, {dialogue.guidance, dialogue.answers.size() + i}});
}

void Conversation::steer(Asked& asked) const {
  Branch& branch = asked.request.branch;
  branch.altered = altered_;
  if (branch.conditioning->context.is_same(step_.positive->context)) branch.cross = cross_;
  if (is_controlled(asked.request)) branch.control = batch_.control.get();
}

/// The stage's requests, one question for each network and input.
std::vector<Question> Conversation::questions() {
  std::vector<Question> questions;
  std::vector<bool> placed(stage_.size());
  places_.clear();
  for (size_t first = 0; first < stage_.size(); ++first) {
    if (placed[first]) continue;
    const Request& like = stage_[first].request;
    Question question{like.network ? like.network : model_->network.get(),
                      like.input.defined() ? like.input : step_.x,
                      {},
                      {}};
    places_.emplace_back();
    for (size_t i = first; i < stage_.size(); ++i) {
      if (!same_input(like, stage_[i].request)) continue;
      placed[i] = true;
      places_.back().push_back(i);
      question.branches.push_back(stage_[i].request.branch);
      question.askers.push_back(stage_[i].asker);
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

/// The first channels are the prediction; guided-diffusion's networks put a variance behind.
Tensor Conversation::without_variance(const Tensor& output) const {
  return output.narrow(1, 0, model_->network->out_channels());
}

/// The raw output to noise samples with; undefined: the guided one.
Tensor Conversation::renoised() const {
  Tensor renoise;
  for (const auto& dialogue : dialogues_) {
    const Tensor own = dialogue.guidance->renoise(step_, dialogue.answers);
    if (own.defined()) renoise = own;
  }
  return renoise;
}

/// D_c + sum_i delta_i, then post-processing.
Combination Conversation::combined() const {
  Combination guided = conditional_;
  for (const auto& dialogue : dialogues_)
    guided.add(dialogue.guidance->delta(step_, dialogue.answers), 1);
  for (const auto& dialogue : dialogues_)
    guided = dialogue.guidance->finish(step_, std::move(guided), conditional_);
  return guided;
}

}  // namespace tiller
