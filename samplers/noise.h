#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace tiller {
using at::Tensor;

/// The unit normal noise between two sigmas, from > to, of one Brownian path: intervals that
/// overlap have their noise in common. Of none, from <= to, it is zero or any.
using NoisePath = std::function<Tensor(double from, double to)>;

/// Where a sampler's random numbers come from.
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;
  /// A path over the sigmas of a run, for noise of the shape, dtype and device of `like`, (B, ...).
  /// This one draws as it goes, and knows of an interval that begins where the last one did. The
  /// source must outlive it.
  virtual NoisePath path(const Tensor& like, double low, double high);
  /// The next unit normal noise, of the shape, dtype and device of `like`, (B, ...).
  virtual Tensor draw(const Tensor& like) = 0;
};

/// Whose random numbers.
enum class RandomNumbers {
  cpu,  ///< mt19937: torch.Generator("cpu").manual_seed(seed).
  nv    ///< Philox: torch.cuda.manual_seed(seed), see philox.h.
};

/// One stream an image, drawn in float32 whatever dtype and device are asked for. An image's noise
/// depends on its seed alone.
class SeededNoise final : public NoiseSource {
 public:
  explicit SeededNoise(const std::vector<uint64_t>& seeds,
                       RandomNumbers numbers = RandomNumbers::cpu);
  /// Throws Error unless `like` has one row a seed.
  Tensor draw(const Tensor& like) override;
  /// A BrownianTree an image, from its seed, whatever was drawn before.
  NoisePath path(const Tensor& like, double low, double high) override;

 private:
  void require_rows(const Tensor& like) const;

  std::vector<uint64_t> seeds_;
  std::vector<at::Generator> streams_;
  RandomNumbers numbers_;
  uint32_t draws_ = 0;
};

/// The noise that a run starts from, (B, C, H, W) in float32: a source's first draw. To be
/// multiplied with Trajectory::initial_scale.
Tensor initial_noise(NoiseSource&, at::IntArrayRef shape, at::Device device = at::kCPU);

/// seed, seed + 1, ..., one an image.
std::vector<uint64_t> image_seeds(uint64_t seed, int64_t images);

}  // namespace tiller
