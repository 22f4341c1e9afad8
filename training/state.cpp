#include "training/state.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "io/safetensors.h"

namespace tiller {
namespace {

struct Section {
  const char* prefix;
  std::vector<Tensor>& tensors;
};

std::vector<Section> sections(TrainState& state) {
  return {{"weights.", state.weights},
          {"average.", state.average},
          {"first.", state.moments.first},
          {"second.", state.moments.second}};
}

/// A number that reads back to the last bit.
std::string exact(double number) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", number);
  return text;
}

}  // namespace

TrainState initial_state(const NamedTensors& parameters, const NamedTensors& average) {
  TrainState state;
  for (const auto& [name, tensor] : parameters) {
    state.names.push_back(name);
    state.weights.push_back(tensor);
    state.weights.back().requires_grad_(true);
  }
  const at::NoGradGuard guard;
  for (size_t i = 0; i < average.size(); ++i) {
    state.average.push_back(average[i].second);
    state.average.back().copy_(state.weights[i]);
  }
  state.moments = zero_moments(state.weights);
  return state;
}

void update_average(TrainState& state, double decay) {
  const at::NoGradGuard guard;
  const double step = static_cast<double>(state.step);
  const double kept = std::min(decay, (1 + step) / (10 + step));
  at::_foreach_lerp_(state.average, state.weights, 1 - kept);
}

void save_state(const fs::path& path, const TrainState& state, const std::string& run) {
  NamedTensors tensors;
  for (const auto& [prefix, values] : sections(const_cast<TrainState&>(state)))
    for (size_t i = 0; i < values.size(); ++i)
      tensors.emplace_back(prefix + state.names[i], values[i].detach());
  save_safetensors(path, tensors,
                   {{"step", std::to_string(state.step)},
                    {"loss_sum", exact(state.loss_sum)},
                    {"loss_steps", std::to_string(state.loss_steps)},
                    {"run", run}});
}

void load_state(const fs::path& path, TrainState& state, const std::string& run) {
  const TensorFile file = load_safetensors(path);
  const auto found = [&](const std::string& key) {
    const auto value = file.metadata.find(key);
    return value == file.metadata.end() ? std::string() : value->second;
  };
  if (found("run") != run)
    throw Error(path.string() + ": got a run with other options (" + found("run") + "), expected " +
                run + ". Give the same options, or another --output.");
  std::map<std::string, Tensor> tensors(file.tensors.begin(), file.tensors.end());
  const at::NoGradGuard guard;
  for (auto& [prefix, values] : sections(state)) {
    for (size_t i = 0; i < values.size(); ++i) {
      const auto tensor = tensors.find(prefix + state.names[i]);
      if (tensor == tensors.end() || tensor->second.sizes() != values[i].sizes())
        throw Error(path.string() + ": " + prefix + state.names[i] + ": missing or misshapen.");
      values[i].copy_(tensor->second);
    }
  }
  state.step = std::strtoll(found("step").c_str(), nullptr, 10);
  state.loss_sum = std::strtod(found("loss_sum").c_str(), nullptr);
  state.loss_steps = std::strtoll(found("loss_steps").c_str(), nullptr, 10);
}

}  // namespace tiller
