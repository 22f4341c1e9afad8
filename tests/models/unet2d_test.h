#pragma once
/// Small UNet2DConditionModels and their inputs, as tests/reference/make_unet2d.py makes them.
#include <ATen/core/grad_mode.h>

#include "models/unet2d_condition.h"
#include "tests/models/formula.h"

namespace tiller::test {

struct BuiltUNet2D {
  std::unique_ptr<Network> network;
  NamedTensors tensors;
};

inline BuiltUNet2D build_unet2d(const Json& config, at::Device device = at::kCPU) {
  Weights weights(0, device);
  BuiltUNet2D built;
  built.network = unet2d_condition(config, weights);
  built.tensors = weights.finish();
  if (!device.is_meta()) fill_by_formula(built.tensors);
  return built;
}

/// The case of that name in unet2d.json.
inline Json unet2d_case(const std::string& name) {
  const Json file = fixture("unet2d.json");
  for (const Json& test : file.at("cases"))
    if (test.at("name") == name) return test;
  throw std::runtime_error("no case " + name);
}

struct UNet2DInput {
  Tensor x, t;
  Conditioning conditioning;
};

inline UNet2DInput unet2d_input(const Json& test) {
  const Json& config = test.at("config");
  const auto times = test.at("timesteps").get<std::vector<float>>();
  const auto count = static_cast<int64_t>(times.size());
  UNet2DInput input;
  input.x = 2 * formula_tensor("sample", {count, config.value("in_channels", 4), test.at("height"),
                                          test.at("width")});
  input.t = at::tensor(times);
  input.conditioning.context = 2 * formula_tensor("context", {count, 5, 24});
  if (config.value("num_class_embeds", Json()).is_number()) {
    input.conditioning.context = at::zeros({count, 1, 24});
    input.conditioning.label = at::tensor({3, 10}, at::kLong);
  }
  if (config.contains("addition_embed_type")) {
    input.conditioning.pooled = formula_tensor("pooled", {count, 12});
    input.conditioning.time_ids = 100 * formula_tensor("time_ids", {count, 6});
  }
  if (config.contains("time_cond_proj_dim"))
    input.conditioning.guidance = formula_tensor("guidance", {count, 10});
  return input;
}

}  // namespace tiller::test
