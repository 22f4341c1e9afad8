#pragma once
#include "training/dataset.h"

/// The formats that load_dataset tells apart, and what they share. Each `is_*` looks at names and
/// first bytes only; each `load_*` throws Error when the data isn't as its format says.
namespace tiller {

/// A folder with data_batch_*.bin, or one .bin file.
bool is_cifar(const fs::path&);
Dataset load_cifar(const fs::path&, int64_t size);

/// Allocates (count, 3, size, size) uint8. Throws Error when that is more than half of the
/// machine's memory; `path` is for the message.
Tensor allocate_images(const fs::path& path, int64_t count, int64_t size);

/// (N, 1 or 3, h, w) uint8 to (N, 3, size, size), scaled and cropped where the sizes differ.
Tensor fit_images(const fs::path& path, const Tensor& images, int64_t size);

/// Calls work(i) for i in [0, count) on as many threads as LibTorch is set to use. An exception
/// stops the rest and is thrown again here.
void for_each_in_parallel(int64_t count, const std::function<void(int64_t)>& work);

}  // namespace tiller
