#include "training/gradient_step.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <cmath>

#include "io/error.h"
#include "models/products.h"

namespace tiller {
namespace {

using Kind = TrainOptions::Autocast;

/// PyTorch's GradScaler: halved by an overflow, doubled after so many steps without one.
constexpr int64_t steps_until_growth = 2000;
constexpr double smallest_scale = 1.0 / 1024, largest_scale = 16777216;

class Autocast {
 public:
  explicit Autocast(const TrainOptions& options)
      : device_(options.device.type()), on_(!computes_in_float32(options)) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(
        device_, options.autocast == Kind::bfloat16 ? at::kBFloat16 : at::kHalf);
    at::autocast::set_autocast_enabled(device_, true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, false);
  }

 private:
  at::DeviceType device_;
  bool on_;
};

/// What of a step isn't finite: an image's loss, else the gradient.
std::string trouble_of(TrainTask& task, int64_t step, const Tensor& losses) {
  const Tensor bad = losses.isfinite().logical_not();
  const std::string at = " that isn't finite at step " + std::to_string(step + 1);
  if (!bad.any().item<bool>()) return "a gradient" + at;
  return "a loss" + at + " (" + task.image_name(step, bad.to(at::kInt).argmax().item<int64_t>()) +
         ")";
}

/// Of float16's steps in trouble it names the first, when the loss scale wasn't to blame any more.
[[noreturn]] void refuse(const TrainOptions& options, TrainTask& task, const TrainState& state,
                         const Tensor& losses) {
  const std::string trouble = state.trouble.empty() ? trouble_of(task, state.step, losses)
                                                    : state.trouble + " and ever since";
  const bool saved = fs::exists(options.output / "state.safetensors");
  throw Error("train: got " + trouble + ", expected numbers. Lower --lr" +
              (saved ? "; " + options.output.string() + " holds the last good state." : "."));
}

void follow_overflow(LossScale& scale, bool overflowed) {
  if (overflowed) {
    scale = {scale.scale / 2, 0};
  } else if (++scale.good_steps == steps_until_growth) {
    scale = {std::min(scale.scale * 2, largest_scale), 0};
  }
}

/// Gradients of all parts are in the weights afterwards: the losses' sum comes behind theirs, and
/// throws where these didn't arrive. Returns the losses of the whole batch, on the CPU.
Tensor add_gradients(const TrainOptions& options, TrainTask& task, int64_t step, double scale,
                     TrainingGroup& group) {
  Tensor all = at::zeros({options.whole_batch()}, at::dtype(at::kDouble).device(options.device));
  const auto parts = parts_of(options);
  for (const auto& part : parts) {
    Tensor losses;
    {
      const Autocast autocast(options);
      losses = task.losses(step, part);
    }
    all.narrow(0, part.first, part.count).copy_(losses.detach());
    if (&part == &parts.back()) group.expect_gradients();
    translate_lost_process([&] { (losses.sum() * (scale / double(options.batch))).backward(); });
  }
  group.sum(all);
  return all.cpu();
}

}  // namespace

bool computes_in_float32(const TrainOptions& options) {
  return options.autocast == Kind::none || (options.autocast == Kind::bfloat16 &&
                                            options.device.is_cpu() && is_widened(at::kBFloat16));
}

StepOutcome gradient_step(const TrainOptions& options, TrainTask& task, TrainState& state,
                          TrainingGroup& group, double learning_rate) {
  const bool scaled = options.autocast == Kind::float16;
  const double scale = scaled ? state.loss_scale.scale : 1;
  for (auto& weight : state.weights) weight.mutable_grad() = Tensor();
  const Tensor losses = add_gradients(options, task, state.step, scale, group);
  StepOutcome outcome{.loss = losses.mean().item<double>()};
  const bool may_overflow = scaled && scale > smallest_scale;

  if (scaled) multiply_gradients(state.weights, 1 / scale);
  outcome.gradient_norm = clip_gradients(state.weights, options.clip);
  outcome.overflowed = !std::isfinite(outcome.loss) || !std::isfinite(outcome.gradient_norm);
  if (outcome.overflowed && !may_overflow) refuse(options, task, state, losses);
  if (!outcome.overflowed) state.trouble.clear();
  if (outcome.overflowed && state.trouble.empty())
    state.trouble = trouble_of(task, state.step, losses);
  if (scaled) follow_overflow(state.loss_scale, outcome.overflowed);
  if (!outcome.overflowed) task.learn(losses);
  ++state.step;
  if (outcome.overflowed) return outcome;
  ++state.updates;
  adamw_step(state.weights, state.moments, state.updates,
             {.lr = learning_rate, .weight_decay = options.weight_decay});
  for (auto& [averaging, tensors] : state.averages)
    update_average(tensors, state.weights,
                   kept_share(averaging, state.step, options.whole_batch()));
  return outcome;
}

}  // namespace tiller
