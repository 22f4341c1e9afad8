#include "models/edm_marks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/quantized.h"
#include "models/single_file_parts.h"

namespace tiller {
namespace {

constexpr int64_t kMost = 64;

Tensor edm_mark(const TensorFile& file, const std::string& name) {
  const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  return found == file.tensors.end() ? Tensor() : dequantized(found->second);
}

std::vector<double> edm_numbers(const Tensor& tensor, const std::string& name) {
  if (!tensor.is_floating_point() || tensor.numel() < 1 || tensor.numel() > kMost ||
      !tensor.isfinite().all().item<bool>())
    throw Error("tensor '" + name + "': expected 1 to " + std::to_string(kMost) + " numbers.");
  const Tensor wide = tensor.to(at::kDouble).flatten().contiguous();
  return {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()};
}

double edm_number(const TensorFile& file, const std::string& name, double usual) {
  const Tensor mark = edm_mark(file, name);
  return mark.defined() ? edm_numbers(mark, name).front() : usual;
}

}  // namespace

nlohmann::json edm_scheduler_config(const TensorFile& file) {
  if (has(file, "edm_mean"))
    return {{"_class_name", "EDMDPMSolverMultistepScheduler"},
            {"sigma_min", 0.002},
            {"sigma_max", 80.0},
            {"sigma_data", 0.5},
            {"prediction_type", "epsilon"}};
  if (has(file, "edm_vpred.sigma_max"))
    return {{"_class_name", "EDMEulerScheduler"},
            {"sigma_min", edm_number(file, "edm_vpred.sigma_min", 0.002)},
            {"sigma_max", edm_number(file, "edm_vpred.sigma_max", 120)},
            {"sigma_data", 1.0},
            {"sigma_schedule", "exponential"},
            {"prediction_type", "v_prediction"}};
  return nullptr;
}

nlohmann::json edm_latent_statistics(const TensorFile& file) {
  const Tensor mean = edm_mark(file, "edm_mean"), std = edm_mark(file, "edm_std");
  if (!mean.defined() || !std.defined()) return nlohmann::json::object();
  return {{"latents_mean", edm_numbers(mean, "edm_mean")},
          {"latents_std", edm_numbers(std, "edm_std")},
          {"scaling_factor", 0.5}};
}

}  // namespace tiller
