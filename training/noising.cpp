#include "training/noising.h"

#include <ATen/ATen.h>

#include "training/random.h"

namespace tiller {

Noising::Noising(const TrainOptions& options, Objective objective)
    : options_(&options),
      objective_(std::move(objective)),
      timesteps_(options.timesteps, objective_.schedule.size(), options.device) {}

Tensor Noising::draw_timesteps(int64_t step) const {
  const at::Device device = options_->device;
  return timesteps_.draw(at::rand({options_->whole_batch()},
                                  step_generator(options_->seed, 5, step, device),
                                  at::TensorOptions(at::kFloat).device(device)));
}

TrainExample Noising::example(int64_t step, const BatchPart& part, const Tensor& x0) const {
  std::vector<int64_t> whole = x0.sizes().vec();
  whole[0] = options_->whole_batch();
  const Tensor t = draw_timesteps(step);
  const at::Generator generator = step_generator(options_->seed, 4, step, options_->device);
  const TrainNoise noise = draw_noise(objective_, t, timesteps_.weights(t), whole, generator);
  return train_example(objective_, x0, noise.rows(part.first, part.count));
}

Tensor Noising::losses(const Tensor& output, const TrainExample& example) const {
  const Tensor losses = image_losses(objective_, output, example);
  return example.weight.defined() ? losses * example.weight : losses;
}

void Noising::learn(int64_t step, const Tensor& losses) {
  const Tensor t = draw_timesteps(step).cpu(), weights = timesteps_.weights(t);
  timesteps_.learn(t, weights.defined() ? losses / weights : losses);
}

}  // namespace tiller
