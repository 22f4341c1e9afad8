#pragma once
/// References as other tools publish them in .npz files.
#include "io/numpy_file.h"
#include "metrics/moments.h"

namespace tiller {

/// What such a file may hold, in one or several of these forms.
struct ReferenceStatistics {
  std::optional<Moments> pool;     ///< `mu` and `sigma`: pytorch-fid, EDM, guided-diffusion.
  std::optional<Moments> spatial;  ///< `mu_s` and `sigma_s`: guided-diffusion, for sFID.
  bool images = false;             ///< `arr_0`: guided-diffusion's batches of images.
};

/// Reads the statistics and looks for images. Our own files also have `count`. Throws Error when
/// there is none of them, one of a pair is missing, or shapes, dtypes or values don't fit.
ReferenceStatistics load_reference_statistics(const fs::path&);

/// Writes `mu` and `sigma`, which pytorch-fid, EDM and we read, and `count`, which they leave
/// unread.
void save_reference_statistics(const fs::path&, const Moments&);

/// Reads `arr_0`, (N, H, W, 3) uint8, batch by batch: published files hold gigabytes.
class ReferenceImages {
 public:
  /// Throws Error where there is no such array of images.
  explicit ReferenceImages(const fs::path&);

  int64_t count() const { return shape_[0]; }
  int64_t height() const { return shape_[1]; }
  int64_t width() const { return shape_[2]; }
  /// The next images, (B, 3, H, W) uint8, at most `batch`; none at the end.
  Tensor next(int64_t batch);

 private:
  NumpyReader reader_;
  std::vector<int64_t> shape_;
};

}  // namespace tiller
