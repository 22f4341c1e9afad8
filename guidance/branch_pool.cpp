#include "guidance/branch_pool.h"

#include <ATen/ATen.h>

#include "guidance/conditioning_parts.h"

namespace tiller {
namespace {

bool alike(const Perturbation* a, const Perturbation* b) {
  return !a == !b && (!a || a->kind() == b->kind());
}

bool alike(const Control& a, const Control& b) {
  return a.net == b.net && a.hint.is_same(b.hint) && a.scale == b.scale &&
         std::equal(a.features.begin(), a.features.end(), b.features.begin(), b.features.end(),
                    [](const Tensor& own, const Tensor& other) { return own.is_same(other); });
}

bool alike(const Conditioning& a, const Conditioning& b) {
  for (const auto part : conditioning_parts)
    if ((a.*part).defined() != (b.*part).defined() ||
        ((a.*part).defined() && (a.*part).sizes() != (b.*part).sizes()))
      return false;
  return a.adapter == b.adapter &&
         std::equal(a.controls.begin(), a.controls.end(), b.controls.begin(), b.controls.end(),
                    [](const Control& own, const Control& other) { return alike(own, other); });
}

bool alike(const Branch& a, const Branch& b) {
  const bool alone = a.observer || b.observer || a.control || b.control;
  return !alone && a.altered == b.altered && alike(a.perturbation, b.perturbation) &&
         alike(a.cross, b.cross) && alike(*a.conditioning, *b.conditioning);
}

}  // namespace

bool poolable(const Question& a, const Question& b) {
  return a.network == b.network && a.input.sizes() == b.input.sizes() &&
         std::equal(a.branches.begin(), a.branches.end(), b.branches.begin(), b.branches.end(),
                    [](const Branch& own, const Branch& other) { return alike(own, other); });
}

BranchPool::BranchPool(std::span<const Question* const> questions)
    : questions_(questions.begin(), questions.end()), branches_(questions.front()->branches) {
  if (questions.size() == 1) return;
  for (size_t i = 0; i < branches_.size(); ++i) {
    branches_[i].conditioning = conditioning(i);
    branches_[i].perturbation = joined(&Branch::perturbation, i);
    branches_[i].cross = joined(&Branch::cross, i);
  }
}

Tensor BranchPool::joined(Tensor Conditioning::*part, std::span<const Conditioning* const> all) {
  std::vector<const void*> key;
  std::vector<Tensor> tensors;
  for (const auto* one : all) {
    tensors.push_back(one->*part);
    key.push_back(tensors.back().unsafeGetTensorImpl());
  }
  if (!tensors.front().defined()) return {};
  Tensor& found = tensors_[key];
  if (!found.defined()) found = at::cat(tensors);
  return found;
}

const Conditioning* BranchPool::conditioning(size_t branch) {
  std::vector<const Conditioning*> all;
  for (const auto* question : questions_) all.push_back(question->branches[branch].conditioning);
  Conditioning& pooled = conditionings_.emplace_back(*all.front());
  for (const auto part : conditioning_parts) pooled.*part = joined(part, all);
  return &pooled;
}

const Perturbation* BranchPool::joined(const Perturbation* Branch::*part, size_t branch) {
  std::vector<const Perturbation*> all;
  for (const auto* question : questions_) all.push_back(question->branches[branch].*part);
  if (!all.front()) return nullptr;
  auto& found = perturbations_[all];
  if (!found) found = std::make_unique<PooledPerturbation>(all);
  return found.get();
}

}  // namespace tiller
