#include "tools/kept_images.h"

#include <ATen/ATen.h>

#include "tools/inverting.h"

namespace tiller {
namespace {

constexpr std::vector<Tensor> KeptImages::*lists[] = {
    &KeptImages::straightness, &KeptImages::samples, &KeptImages::pixels,
    &KeptImages::attention,    &KeptImages::effects, &KeptImages::starts};

Tensor joined(const std::vector<Tensor>& batches) {
  return batches.empty() ? Tensor() : at::cat(batches);
}

void add(std::vector<Tensor>& batches, const Tensor& batch) {
  if (batch.defined()) batches.push_back(batch);
}

}  // namespace

void keep(KeptImages& kept, const Generation& generation, const Outputs& outputs,
          const DoneImages& done) {
  add(kept.straightness, done.straightness);
  if (!outputs.latents.empty() || !outputs.pairs.empty()) kept.samples.push_back(done.samples);
  if (!outputs.pairs.empty()) kept.starts.push_back(done.start.to(at::kCPU, at::kFloat));
  if (outputs.grid) kept.pixels.push_back(done.pixels);
  if (generation.keeps_state || generation.inversion) {
    kept.states.push_back(on_device(done.state, at::kCPU));
    add(kept.starts, done.start.to(at::kCPU));
  }
  add(kept.attention, done.attention);
  add(kept.effects, done.effects);
}

void append(KeptImages& kept, KeptImages more) {
  for (const auto list : lists)
    for (auto& batch : more.*list) (kept.*list).push_back(std::move(batch));
  for (auto& state : more.states) kept.states.push_back(std::move(state));
}

KeptImages gathered(ProcessGroup& group, const KeptImages& own) {
  std::vector<Tensor> parts;
  for (const auto list : lists) parts.push_back(joined(own.*list));
  KeptImages all;
  for (const auto& process : group.gather_at_first(parts))
    for (size_t i = 0; i < process.size(); ++i) add(all.*lists[i], process[i]);
  return all;
}

DoneImages collected_maps(const KeptImages& kept) {
  const bool mapped = !kept.attention.empty() || !kept.effects.empty();
  return {.pixels = mapped ? joined(kept.pixels) : Tensor(),
          .attention = joined(kept.attention),
          .effects = joined(kept.effects)};
}

}  // namespace tiller
