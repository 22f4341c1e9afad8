/// One guided evaluation of a UNet each time a line comes in, its milliseconds each time a line
/// goes out: unet_evaluation.py drives this and diffusers in turns.
///
/// usage: bench_unet_evaluation UNET_FOLDER SIZE DTYPE GUIDANCE [share=on|off]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cstdio>
#include <iostream>

#include "guidance/denoiser.h"

namespace tiller {
namespace {

Conditioning random_text(const Model& model) {
  Conditioning text;
  const auto& config = model.config;
  text.context = at::randn({1, 77, config.at("cross_attention_dim").get<int64_t>()});
  if (config.contains("addition_embed_type") && config["addition_embed_type"] == "text_time") {
    const int64_t added = config.at("projection_class_embeddings_input_dim").get<int64_t>();
    text.pooled = at::randn({1, added - 6 * config.at("addition_time_embed_dim").get<int64_t>()});
    text.time_ids = at::full({1, 6}, 512.0);
  }
  return text;
}

int run(const std::string& folder, int64_t size, at::ScalarType dtype, const std::string& guidance,
        bool share) {
  const c10::InferenceMode inference;
  const Model model = load_model(folder, dtype);
  auto chosen = choose_guidances({guidance}, model);
  GuidedBatch batch;
  batch.positive = random_text(model);
  batch.negative = random_text(model);
  batch.seeds = {0};
  batch.steps = 2;
  GuidanceCost cost;
  const Denoiser denoise = guided_denoiser(model, chosen, batch, share, &cost);
  const Tensor x = at::randn({1, 4, size / 8, size / 8});
  for (std::string line; std::getline(std::cin, line);) {
    cost = {};
    const auto start = std::chrono::steady_clock::now();
    denoise(x, {.alpha = 0.7, .sigma = 0.714, .timestep = 500, .step = 0});
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    std::printf("%.3f %.6g %.6g\n", time.count(), cost.flops.spent, cost.flops.unshared);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  if (count < 5) {
    std::fputs("usage: bench_unet_evaluation UNET_FOLDER SIZE DTYPE GUIDANCE [on|off]\n", stderr);
    return 2;
  }
  const std::string dtype = arguments[3];
  return tiller::run(arguments[1], std::stoll(arguments[2]),
                     dtype == "bfloat16" ? at::kBFloat16 : at::kFloat, arguments[4],
                     count < 6 || std::string(arguments[5]) != "off");
}
