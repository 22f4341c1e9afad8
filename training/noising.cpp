#include "training/noising.h"

#include <ATen/ATen.h>

#include "training/random.h"

namespace tiller {

Noising::Noising(const TrainOptions& options, Objective objective)
    : options_(&options),
      objective_(std::move(objective)),
      timesteps_(options.timesteps, objective_.schedule.size(), options.device) {}

void Noising::draw(int64_t step, at::IntArrayRef image) {
  if (drawn_ == step) return;
  const int64_t batch = options_->whole_batch();
  const at::Device device = options_->device;
  const auto generator = [&](uint64_t purpose) {
    return step_generator(options_->seed, purpose, step, device);
  };
  const Tensor t = timesteps_.draw(
      at::rand({batch}, generator(5), at::TensorOptions(at::kFloat).device(device)));
  std::vector<int64_t> whole = image.vec();
  whole.insert(whole.begin(), batch);
  noise_ = draw_noise(objective_, t, timesteps_.weights(t), whole, generator(4));
  drawn_ = step;
}

TrainExample Noising::example(int64_t step, const BatchPart& part, const Tensor& x0,
                              const Tensor& noise) {
  draw(step, x0.sizes().slice(1));
  TrainNoise drawn = noise_.rows(part.first, part.count);
  if (noise.defined()) drawn.epsilon = noise;
  return train_example(objective_, x0, drawn);
}

Tensor Noising::losses(const Tensor& output, const TrainExample& example) const {
  const Tensor losses = image_losses(objective_, output, example);
  return example.weight.defined() ? losses * example.weight : losses;
}

void Noising::learn(const Tensor& losses) {
  timesteps_.learn(noise_.t, noise_.weight.defined() ? losses / noise_.weight.cpu() : losses);
}

}  // namespace tiller
