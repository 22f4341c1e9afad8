/// A guided evaluation of a UNet on random conditioning whenever it is this side's turn (turns.h):
/// seconds, bytes, FLOPs spent, FLOPs had nothing been shared, and how often an evaluation was
/// replayed from its recording so far. As in `tiller generate` a GPU's second turn records it.
///
/// usage: bench_unet_evaluation MODEL SIZE BATCH DTYPE DEVICE GUIDANCE [launched|profile]
/// GUIDANCE may be "none". SIZE is in pixels. launched: kernels one by one, nothing is recorded.
/// profile: on a GPU, what takes the time of five evaluations in a row, and how long it idles.
#include <ATen/ATen.h>

#include <array>

#include "benchmarks/kernel_times.h"
#include "benchmarks/turns.h"
#include "guidance/denoiser.h"
#include "guidance/evaluation_graphs.h"

namespace tiller {
namespace {

Conditioning random_conditioning(const Model& model, int64_t batch, at::Device device) {
  Conditioning random;
  if (model.classes) random.label = at::randint(model.classes, {batch}).to(at::kLong).to(device);
  const auto& config = model.config;
  if (!model.reads_text()) return random;
  const auto normal = [&](at::IntArrayRef shape) { return at::randn(shape).to(device); };
  random.context = normal({batch, 77, config.at("cross_attention_dim").get<int64_t>()});
  if (config.contains("addition_embed_type") && config["addition_embed_type"] == "text_time") {
    const int64_t added = config.at("projection_class_embeddings_input_dim").get<int64_t>();
    random.pooled =
        normal({batch, added - 6 * config.at("addition_time_embed_dim").get<int64_t>()});
    random.time_ids = at::full({batch, 6}, 512.0).to(device);
  }
  return random;
}

/// Null where nothing can be recorded.
std::shared_ptr<EvaluationGraphs> graphs_for(at::Device device) {
  const Recorder recorder = graph_recorder(device);
  return recorder ? std::make_shared<EvaluationGraphs>(recorder) : nullptr;
}

void profile(at::Device device, const std::function<void()>& evaluate) {
  constexpr int kWarming = 4, kMeasured = 5;
  const c10::InferenceMode inference;
  const auto several = [&](int count) {
    for (int i = 0; i < count; ++i) evaluate();
    wait_for(device);
  };
  several(kWarming);
  print(gpu_times([&] { several(kMeasured); }));
}

void run(const std::string& folder, int64_t size, int64_t rows, at::ScalarType dtype,
         const std::string& device_name, const std::string& guidance, const std::string& mode) {
  const at::Device device = measured_device(device_name);
  const Model model = load_model(folder, dtype, device);
  auto chosen = choose_guidances({guidance}, model);
  GuidedBatch batch;
  batch.positive = random_conditioning(model, rows, device);
  batch.negative = random_conditioning(model, rows, device);
  batch.seeds.assign(rows, 0);
  batch.steps = 2;
  const auto graphs = mode == "launched" ? nullptr : graphs_for(device);
  batch.graphs = graphs;
  GuidanceCost cost;
  const Denoiser denoise = guided_denoiser(model, chosen, batch, true, &cost);
  const int64_t side = size / (model.reads_text() ? 8 : 1);
  const Tensor x = at::randn({rows, model.network->out_channels(), side, side}).to(device);
  const auto evaluate = [&] {
    const auto predicted = denoise(x, {.alpha = 0.7, .sigma = 0.714, .timestep = 500, .step = 0});
    (predicted.sample + predicted.epsilon).tensor();  // computes them
  };
  if (mode == "profile") return profile(device, evaluate);
  take_turns(device, [&] {
    cost = {};
    evaluate();
    return std::array{cost.flops.spent, cost.flops.unshared,
                      graphs ? double(graphs->replays()) : 0.0};
  });
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  if (count < 7) {
    std::fputs(
        "usage: bench_unet_evaluation MODEL SIZE BATCH DTYPE DEVICE GUIDANCE "
        "[launched|profile]\n",
        stderr);
    return 2;
  }
  tiller::run(arguments[1], std::stoll(arguments[2]), std::stoll(arguments[3]),
              tiller::dtype_named(arguments[4]), arguments[5], arguments[6],
              count > 7 ? arguments[7] : "");
}
