#include "training/share_state.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace tiller {

void share_state(ProcessGroup& group, TrainState& state) {
  if (group.world() == 1) return;
  const at::NoGradGuard guard;
  std::vector<Tensor> tensors = state.weights;
  const auto add = [&](const std::vector<Tensor>& more) {
    tensors.insert(tensors.end(), more.begin(), more.end());
  };
  for (const auto& average : state.averages) add(average.tensors);
  add(state.moments.first), add(state.moments.second);
  for (const auto& [name, tensor] : state.memory) tensors.push_back(tensor);
  const Tensor numbers =
      at::tensor({double(state.step), double(state.updates), state.loss_scale.scale,
                  double(state.loss_scale.good_steps), state.loss_sum, double(state.loss_steps)},
                 at::kDouble);
  tensors.push_back(numbers);
  group.broadcast(tensors);
  const auto* number = numbers.const_data_ptr<double>();
  state.step = int64_t(number[0]), state.updates = int64_t(number[1]);
  state.loss_scale = {number[2], int64_t(number[3])};
  state.loss_sum = number[4], state.loss_steps = int64_t(number[5]);
}

}  // namespace tiller
