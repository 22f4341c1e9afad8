#include "guidance/evaluation_graphs.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "guidance/conditioning_parts.h"
#include "io/error.h"

namespace tiller {
namespace {

/// Whether its work at a step depends on nothing but tensors that keep their place.
bool recordable(const Perturbation* perturbation) {
  if (!perturbation) return true;
  const auto kind = perturbation->kind();
  return kind == Perturbation::Kind::permutation || kind == Perturbation::Kind::attention ||
         kind == Perturbation::Kind::skip;
}

bool recordable(const Branch& branch) {
  return recordable(branch.perturbation) && !branch.cross && !branch.observer && !branch.control &&
         branch.conditioning->controls.empty();
}

bool recordable(const Tensor& x, std::span<const Branch> branches) {
  return !at::GradMode::is_enabled() && !x.requires_grad() &&
         std::all_of(branches.begin(), branches.end(),
                     [](const Branch& branch) { return recordable(branch); });
}

/// The place of a tensor among the sources, behind them where it isn't there; -1: not defined.
int64_t place_of(const Tensor& tensor, const std::vector<Tensor>& sources) {
  if (!tensor.defined()) return -1;
  const auto found = std::find_if(sources.begin(), sources.end(),
                                  [&](const Tensor& other) { return same_rows(other, tensor); });
  return found - sources.begin();
}

/// The distinct tensors of the branches' conditionings, in order.
std::vector<Tensor> sources_of(std::span<const Branch> branches) {
  std::vector<Tensor> sources;
  for (const Branch& branch : branches)
    for (const auto part : conditioning_parts) {
      const Tensor& tensor = branch.conditioning->*part;
      if (place_of(tensor, sources) == std::ssize(sources)) sources.push_back(tensor);
    }
  return sources;
}

void add_shape(std::vector<int64_t>& key, const Tensor& tensor) {
  key.push_back(int64_t(tensor.scalar_type()));
  key.push_back(tensor.dim());
  key.insert(key.end(), tensor.sizes().begin(), tensor.sizes().end());
}

int64_t address(const void* pointer) { return int64_t(reinterpret_cast<intptr_t>(pointer)); }

/// All that decides which kernels an evaluation launches.
std::vector<int64_t> key_of(const Network& network, const Tensor& x, const Tensor& t,
                            std::span<const Branch> branches, const std::vector<Tensor>& sources,
                            bool share, bool keeps_prompts) {
  std::vector<int64_t> key = {address(&network), share, keeps_prompts};
  add_shape(key, x);
  add_shape(key, t);
  for (const Tensor& source : sources) add_shape(key, source);
  for (const Branch& branch : branches) {
    key.push_back(address(branch.perturbation));
    key.push_back(address(branch.altered.text));
    key.push_back(address(branch.altered.skips));
    key.push_back(address(branch.conditioning->adapter.get()));
    for (const auto part : conditioning_parts)
      key.push_back(place_of(branch.conditioning->*part, sources));
  }
  return key;
}

}  // namespace

void EvaluationGraphs::Plan::read(const Tensor& new_x, const Tensor& new_t,
                                  const std::vector<Tensor>& new_sources) {
  x.copy_(new_x);
  t.copy_(new_t);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (sources[i].is_same(new_sources[i])) continue;
    parts[i].copy_(new_sources[i]);
    has_prompts = false;
  }
  sources = new_sources;
}

Answers EvaluationGraphs::Plan::evaluate() {
  return tiller::evaluate(*network, x, t, branches, share, nullptr,
                          keeps_prompts ? &prompts : nullptr);
}

void EvaluationGraphs::Plan::record(const Recorder& recorder) {
  whole.replay = recorder([this] {
    prompts.clear();
    whole.answers = evaluate();
  });
  if (!prompts.empty()) rest.replay = recorder([this] { rest.answers = evaluate(); });
}

Answers EvaluationGraphs::Plan::replay() {
  const Recorded& recorded = has_prompts && rest.replay ? rest : whole;
  recorded.replay();
  has_prompts = true;
  Answers answers = recorded.answers;
  for (Tensor& output : answers.outputs) output = output.to(at::kFloat, false, true);
  return answers;
}

std::unique_ptr<EvaluationGraphs::Plan> EvaluationGraphs::plan(const Network& network,
                                                               const Tensor& x, const Tensor& t,
                                                               std::span<const Branch> branches,
                                                               bool share, bool keeps_prompts) {
  auto plan = std::make_unique<Plan>();
  plan->network = &network;
  plan->share = share;
  plan->keeps_prompts = keeps_prompts;
  plan->x = x.clone();
  plan->t = t.clone();
  plan->sources = sources_of(branches);
  for (const Tensor& source : plan->sources) plan->parts.push_back(source.clone());
  for (const Branch& branch : branches) {
    Conditioning own = *branch.conditioning;
    for (const auto part : conditioning_parts)
      if (const int64_t place = place_of(own.*part, plan->sources); place >= 0)
        own.*part = plan->parts[size_t(place)];
    plan->conditionings.push_back(std::move(own));
    plan->branches.push_back(branch);
    plan->branches.back().conditioning = &plan->conditionings.back();
  }
  return plan;
}

Answers EvaluationGraphs::evaluate(const Network& network, const Tensor& x, const Tensor& t,
                                   std::span<const Branch> branches, bool share,
                                   PromptMemory* prompts) {
  const auto evaluate_now = [&] {
    return tiller::evaluate(network, x, t, branches, share, nullptr, prompts);
  };
  if (!recordable(x, branches)) return evaluate_now();
  const std::vector<Tensor> sources = sources_of(branches);
  const auto [place, is_new] =
      plans_.try_emplace(key_of(network, x, t, branches, sources, share, prompts), nullptr);
  if (is_new) return evaluate_now();
  std::unique_ptr<Plan>& known = place->second;
  if (!known) {
    known = plan(network, x, t, branches, share, prompts);
    try {
      known->record(recorder_);
      if (prompts) prompts->clear();
    } catch (const c10::Error& error) {
      known = std::make_unique<Plan>();
      if (problem_.empty()) problem_ = first_line(error.what_without_backtrace());
    }
  }
  if (!known->whole.replay) return evaluate_now();
  known->read(x, t, sources);
  ++replays_;
  return known->replay();
}

int64_t EvaluationGraphs::recordings() const {
  return std::count_if(plans_.begin(), plans_.end(),
                       [](const auto& plan) { return plan.second && plan.second->whole.replay; });
}

}  // namespace tiller
