#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace tiller {
using at::Tensor;

/// Where a sampler's random numbers come from.
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;
  /// The next unit normal noise, of the shape, dtype and device of `like`, (B, ...).
  virtual Tensor draw(const Tensor& like) = 0;
};

/// One CPU mt19937 stream an image, drawn in float32 whatever dtype and device are asked for: the
/// numbers of torch.Generator("cpu").manual_seed(seed). An image's noise depends on its seed alone.
class SeededNoise final : public NoiseSource {
 public:
  explicit SeededNoise(const std::vector<uint64_t>& seeds);
  /// Throws Error unless `like` has one row a seed.
  Tensor draw(const Tensor& like) override;

 private:
  std::vector<at::Generator> streams_;
};

/// The noise that a run starts from, (B, C, H, W) in float32: a source's first draw. To be
/// multiplied with Trajectory::initial_scale.
Tensor initial_noise(NoiseSource&, at::IntArrayRef shape, at::Device device = at::kCPU);

/// seed, seed + 1, ..., one an image.
std::vector<uint64_t> image_seeds(uint64_t seed, int64_t images);

}  // namespace tiller
