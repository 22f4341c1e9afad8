#include "training/state.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace tiller {
namespace {

struct Section {
  std::string prefix;
  std::vector<Tensor>& tensors;
};

std::vector<Section> sections(TrainState& state) {
  std::vector<Section> sections = {{"weights.", state.weights},
                                   {"first.", state.moments.first},
                                   {"second.", state.moments.second}};
  for (auto& average : state.averages)
    sections.push_back({"average " + average.averaging.name + ".", average.tensors});
  return sections;
}

/// A number that reads back to the last bit.
std::string exact(double number) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", number);
  return text;
}

/// A number that save_state wrote.
double saved_number(const fs::path& path, const std::string& key, const std::string& text,
                    double least) {
  constexpr double most = 1e15;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end || !(number >= least && number <= most))
    throw Error(path.string() + ": " + key + ": got '" + printable(text) +
                "', expected a number that `train` saved.");
  return number;
}

/// "lr: got 0.1, expected 0.2": the first option that differs, in objects within objects too; "" if
/// none does.
std::string difference(const nlohmann::json& found, const nlohmann::json& run,
                       const std::string& prefix = "") {
  nlohmann::json keys = run;
  keys.update(found);
  for (const auto& [key, unused] : keys.items()) {
    const auto value = [&](const auto& options) { return options.value(key, nlohmann::json()); };
    const nlohmann::json got = value(found), expected = value(run);
    if (got == expected) continue;
    if (got.is_object() && expected.is_object())
      return difference(got, expected, prefix + key + ".");
    const auto text = [](const auto& json) { return json.is_null() ? "nothing" : json.dump(); };
    return prefix + key + ": got " + printable(text(got)) + ", expected " +
           printable(text(expected));
  }
  return "";
}

/// Takes what may change out of both, and says what did.
std::vector<std::string> take_changes(nlohmann::json& found, nlohmann::json& run,
                                      const std::vector<std::string>& may_change) {
  std::vector<std::string> changes;
  for (const auto& key : may_change) {
    if (found.contains(key) && run.contains(key) && found[key] != run[key])
      changes.push_back(key + " " + run[key].dump() + " (it was " + printable(found[key].dump()) +
                        ")");
    found.erase(key), run.erase(key);
  }
  return changes;
}

/// Returns what has changed and may.
std::vector<std::string> require_same_run(const fs::path& path, const std::string& found,
                                          const std::string& run,
                                          const std::vector<std::string>& may_change) {
  auto written = parse_json(found), asked = nlohmann::json::parse(run);
  if (!written.is_object())
    throw Error(path.string() + ": got no options of a run, expected what `train` saved.");
  const std::vector<std::string> changes = take_changes(written, asked, may_change);
  const std::string differs = difference(written, asked);
  if (!differs.empty())
    throw Error(path.string() + ": was written by a run with other options: " + differs +
                ". Give the same options, or another --output.");
  return changes;
}

}  // namespace

TrainState initial_state(const NamedTensors& parameters, const NamedTensors& average,
                         const std::vector<Averaging>& averagings) {
  TrainState state;
  for (const auto& [name, tensor] : parameters) {
    state.names.push_back(name);
    state.weights.push_back(tensor);
    state.weights.back().requires_grad_(true);
  }
  const at::NoGradGuard guard;
  for (const auto& averaging : averagings) {
    AveragedWeights averaged{averaging, {}};
    const bool first = state.averages.empty();
    for (size_t i = 0; i < average.size(); ++i) {
      averaged.tensors.push_back(first ? average[i].second : at::empty_like(average[i].second));
      averaged.tensors.back().copy_(state.weights[i]);
    }
    state.averages.push_back(std::move(averaged));
  }
  state.moments = zero_moments(state.weights);
  return state;
}

void save_state(const fs::path& path, const TrainState& state, const std::string& run) {
  NamedTensors tensors;
  for (const auto& [prefix, values] : sections(const_cast<TrainState&>(state)))
    for (size_t i = 0; i < values.size(); ++i)
      tensors.emplace_back(prefix + state.names[i], values[i].detach());
  for (const auto& [name, tensor] : state.memory) tensors.emplace_back("memory." + name, tensor);
  save_safetensors(path, tensors,
                   {{"step", std::to_string(state.step)},
                    {"updates", std::to_string(state.updates)},
                    {"loss_scale", exact(state.loss_scale.scale)},
                    {"good_steps", std::to_string(state.loss_scale.good_steps)},
                    {"loss_sum", exact(state.loss_sum)},
                    {"loss_steps", std::to_string(state.loss_steps)},
                    {"data", state.data},
                    {"run", run}});
}

std::vector<std::string> load_state(const fs::path& path, TrainState& state, const std::string& run,
                                    const std::vector<std::string>& may_change) {
  const TensorFile file = load_safetensors(path);
  const auto found = [&](const std::string& key) {
    const auto value = file.metadata.find(key);
    return value == file.metadata.end() ? std::string() : value->second;
  };
  auto changes = require_same_run(path, found("run"), run, may_change);
  std::map<std::string, Tensor> tensors(file.tensors.begin(), file.tensors.end());
  const at::NoGradGuard guard;
  const auto copy = [&](const std::string& name, Tensor& value) {
    const auto tensor = tensors.find(name);
    if (tensor == tensors.end() || tensor->second.sizes() != value.sizes())
      throw Error(path.string() + ": " + name + ": missing or misshapen.");
    value.copy_(tensor->second);
  };
  for (auto& [prefix, values] : sections(state))
    for (size_t i = 0; i < values.size(); ++i) copy(prefix + state.names[i], values[i]);
  for (auto& [name, value] : state.memory) copy("memory." + name, value);
  const auto number = [&](const char* key, double least) {
    return saved_number(path, key, found(key), least);
  };
  const auto whole = [&](const char* key) { return static_cast<int64_t>(number(key, 0)); };
  state.step = whole("step"), state.updates = whole("updates");
  state.loss_scale = {number("loss_scale", std::numeric_limits<double>::min()),
                      whole("good_steps")};
  state.loss_sum = number("loss_sum", std::numeric_limits<double>::lowest());
  state.loss_steps = whole("loss_steps");
  state.data = found("data");
  return changes;
}

}  // namespace tiller
