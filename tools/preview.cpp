#include "tools/preview.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "io/grid.h"
#include "io/image.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto least_time = std::chrono::milliseconds(500);
constexpr int latent_scale = 8;

/// (B, 3, H, W), about [-1, 1].
Tensor estimate_of(const Generation& generation, const Tensor& sample) {
  if (!generation.model.vae) return sample;
  if (generation.taesd) return decode_latents(*generation.taesd, sample);
  if (sample.size(1) != 4) return sample.narrow(1, 0, std::min<int64_t>(3, sample.size(1)));
  const bool xl = generation.model.text && generation.model.text->xl;
  const Tensor rgb = latent_rgb(sample, xl ? LatentFamily::sdxl : LatentFamily::sd);
  return at::upsample_nearest2d(rgb, {latent_scale * rgb.size(2), latent_scale * rgb.size(3)});
}

void write_preview(const Generation& generation, const fs::path& path, const Tensor& sample) {
  Tensor pixels = to_bytes(estimate_of(generation, sample).to(at::kCPU, at::kFloat));
  if (pixels.size(1) == 1) pixels = pixels.expand({-1, 3, -1, -1});
  const auto columns = int64_t(std::ceil(std::sqrt(double(pixels.size(0)))));
  write_png(path, pixels.size(0) == 1 ? pixels[0] : image_grid(pixels, columns, {}));
}

}  // namespace

Observer preview_writer(const Generation& generation, const fs::path& path) {
  if (path.empty()) return {};
  return [&generation, path, last = Clock::time_point()](const StepReport& report) mutable {
    const bool final = report.step + 1 == report.steps;
    if (!final && Clock::now() - last < least_time) return;
    write_preview(generation, path, report.prediction.sample);
    last = Clock::now();
  };
}

}  // namespace tiller
