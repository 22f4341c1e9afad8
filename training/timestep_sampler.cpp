#include "training/timestep_sampler.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

constexpr int64_t remembered = 10;
/// The share of timesteps that is drawn uniformly all the same.
constexpr double uniform_share = 0.001;

/// One a timestep; they add up to 1.
Tensor probabilities(const Tensor& history) {
  const Tensor root = history.square().mean(1).sqrt();
  return (1 - uniform_share) * root / root.sum() + uniform_share / double(history.size(0));
}

}  // namespace

TimestepRule timestep_rule_from(const std::string& name) {
  if (name == "uniform") return TimestepRule::uniform;
  if (name == "loss-second-moment") return TimestepRule::loss_second_moment;
  throw UsageError("--timesteps: got '" + printable(name) +
                   "', expected uniform or loss-second-moment." +
                   suggestion(name, {"uniform", "loss-second-moment"}));
}

TimestepSampler::TimestepSampler(TimestepRule rule, int64_t timesteps, at::Device device)
    : rule_(rule), timesteps_(timesteps), device_(device) {
  if (rule == TimestepRule::uniform) return;
  history_ = at::zeros({timesteps, remembered}, at::kDouble);
  counts_ = at::zeros({timesteps}, at::kLong);
}

bool TimestepSampler::learned() const {
  return counts_.defined() && (counts_ == remembered).all().item<bool>();
}

Tensor TimestepSampler::draw(const Tensor& uniform) const {
  const Tensor u = uniform.to(at::kDouble);
  if (!learned()) return (u * double(timesteps_)).to(at::kLong);
  const Tensor bounds = probabilities(history_).cumsum(0).to(u.device());
  return at::searchsorted(bounds, u, /*out_int32=*/false, /*right=*/true).clamp_max(timesteps_ - 1);
}

Tensor TimestepSampler::weights(const Tensor& t) const {
  if (!learned()) return {};
  const Tensor p = probabilities(history_).to(t.device()).index_select(0, t);
  return (1 / (p * double(timesteps_))).to(at::kFloat);
}

void TimestepSampler::learn(const Tensor& t, const Tensor& losses) {
  if (!history_.defined()) return;
  const Tensor steps = t.cpu(), values = losses.cpu().to(at::kDouble);
  for (int64_t i = 0; i < steps.size(0); ++i) {
    const int64_t step = steps[i].item<int64_t>(), count = counts_[step].item<int64_t>();
    Tensor row = history_[step];
    if (count == remembered) row.narrow(0, 0, count - 1).copy_(row.narrow(0, 1, count - 1).clone());
    row[std::min(count, remembered - 1)].fill_(values[i].item<double>());
    if (count < remembered) counts_[step].add_(1);
  }
}

NamedTensors TimestepSampler::memory() const {
  if (!history_.defined()) return {};
  return {{"timesteps.history", history_}, {"timesteps.counts", counts_}};
}

}  // namespace tiller
