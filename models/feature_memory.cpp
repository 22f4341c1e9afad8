#include "models/feature_memory.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

/// (B): the sum of all absolute values of each image.
Tensor magnitude(const Tensor& x) { return x.to(at::kFloat).abs().flatten(1).sum(1); }

/// `old` for images that are reused, `now` for the others; the very tensor where that is all.
Tensor chosen(const Tensor& reused, const Tensor& old, const Tensor& now) {
  if (!old.defined() || !reused.any().item<bool>()) return now;
  return at::where(reused.to(now.device()).view({-1, 1, 1, 1}), old, now);
}

}  // namespace

void FeatureMemory::begin_step(int step) {
  if (step_ == step) return;
  step_ = step;
  ++steps_;
}

size_t FeatureMemory::shallow(size_t skips) const {
  if (size_t(cache_.branch) >= skips)
    throw Error("cache " + cache_.text + ": got a network of " + std::to_string(skips) +
                " skips, expected more than branch=" + std::to_string(cache_.branch) + ".");
  return size_t(cache_.branch) + 1;
}

/// One (B, C, H, W) a branch; of the block's output where it changes the width. Empty where steps
/// decide.
std::vector<Tensor> FeatureMemory::residuals(const Rows& rows, const Skips& skips) const {
  if (cache_.interval) return {};
  const Tensor before = rows.expand(skips[0]), after = rows.expand(skips[1]);
  return rows.outputs(before.sizes() == after.sizes() ? after - before : after);
}

/// Whether something was kept of every branch at this step or the one before, for inputs of this
/// size.
bool FeatureMemory::knows_all(const Tensor& like, int64_t images) const {
  return std::all_of(askers_.begin(), askers_.end(), [&](const Asker& asker) {
    const auto found = kept_.find(asker);
    if (found == kept_.end() || found->second.seen + 1 < steps_) return false;
    const Tensor& deep = found->second.deep;
    return deep.size(0) == images && deep.size(2) == like.size(2) && deep.size(3) == like.size(3);
  });
}

/// (B) booleans on the CPU: the images whose deep part can be left out.
Tensor FeatureMemory::reusable(const Skips& skips, const std::vector<Tensor>& residuals,
                               int64_t images) const {
  const auto all = [&](bool value) { return at::full({images}, value, at::kBool); };
  if (!knows_all(skips.back(), images)) return all(false);
  if (cache_.interval) return all((steps_ - 1) % cache_.interval != 0);
  Tensor change, size;
  for (size_t b = 0; b < residuals.size(); ++b) {
    const Tensor& before = kept_.at(askers_[b]).first;
    const Tensor own = magnitude(residuals[b] - before), whole = magnitude(before);
    change = change.defined() ? change + own : own;
    size = size.defined() ? size + whole : whole;
  }
  return (change < cache_.threshold * size).to(at::kCPU);
}

/// Branches that share rows share what is kept.
void FeatureMemory::keep(const std::vector<Tensor>& deep, const std::vector<Tensor>& residuals,
                         const Tensor& reusable) {
  std::vector<Kept> now;
  for (size_t b = 0; b < askers_.size(); ++b) {
    const Kept& old = kept_[askers_[b]];
    const auto shares = [&](size_t other) {
      const Kept& its = kept_[askers_[other]];
      return same_rows(deep[b], deep[other]) && old.deep.defined() == its.deep.defined() &&
             (!old.deep.defined() || same_rows(old.deep, its.deep));
    };
    Kept kept{.deep = {}, .first = {}, .seen = steps_};
    for (size_t other = 0; other < b && !kept.deep.defined(); ++other)
      if (shares(other)) kept.deep = now[other].deep;
    if (!kept.deep.defined()) kept.deep = chosen(reusable, old.deep, deep[b]);
    if (!residuals.empty()) kept.first = chosen(reusable, old.first, residuals[b]);
    now.push_back(std::move(kept));
  }
  for (size_t b = 0; b < askers_.size(); ++b) kept_[askers_[b]] = std::move(now[b]);
}

Tensor FeatureMemory::recall_or(Rows& rows, const Skips& skips,
                                const std::function<Tensor()>& deep) {
  if (std::ssize(askers_) != rows.branches())
    throw Error("feature memory: got " + std::to_string(askers_.size()) +
                " askers, expected one for each of " + std::to_string(rows.branches()) +
                " branches.");
  const std::vector<Tensor> first = residuals(rows, skips);
  const Tensor reuse = reusable(skips, first, rows.images());
  reused_ = reuse.all().item<bool>();
  if (reused_) {
    for (const auto& asker : askers_) kept_[asker].seen = steps_;
  } else {
    const Tensor fresh = deep();
    keep(rows.outputs(rows.expand(fresh)), first, reuse);
    if (!reuse.any().item<bool>()) return fresh;
  }
  std::vector<Tensor> kept;
  for (const auto& asker : askers_) kept.push_back(kept_[asker].deep);
  return rows.recall(kept);
}

}  // namespace tiller
