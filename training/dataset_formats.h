#pragma once
#include "training/dataset.h"

/// The formats that load_dataset tells apart, and what they share. Each `is_*` looks at names and
/// first bytes only; each `load_*` throws Error when the data isn't as its format says. file: where
/// the images go, as load_dataset has it.
namespace tiller {

/// A folder with data_batch_*.bin, or one .bin file.
bool is_cifar(const fs::path&);
Dataset load_cifar(const fs::path&, int64_t size);

/// A folder with *-images-idx3-ubyte, plain or gzipped, or one such file.
bool is_idx(const fs::path&);
Dataset load_idx(const fs::path&, int64_t size);

/// By its first bytes.
bool is_zip(const fs::path&);
/// A tar file, compressed or not, or a zip.
bool is_archive(const fs::path&);
Dataset load_archive_images(const fs::path&, int64_t size, const fs::path& file);
/// A folder of tar files, plain or gzipped: webdataset's shards. Loading throws Error where images
/// lie there too.
bool has_shards(const fs::path&);
Dataset load_shards(const fs::path&, int64_t size, const fs::path& file);

/// guided-diffusion's .npz: arr_0 (N, H, W, 3) uint8 and, optionally, arr_1, labels.
bool is_npz(const fs::path&);
Dataset load_npz_images(const fs::path&, int64_t size, const fs::path& file);

/// Noise and samples as `tiller generate --save-pairs` writes them, of this size.
bool is_pairs(const fs::path&);
Dataset load_pairs(const fs::path&, int64_t size);

Dataset load_image_folder(const fs::path&, int64_t size, const fs::path& file);

/// A folder with metadata.jsonl.
bool has_metadata(const fs::path&);
Dataset load_captioned_folder(const fs::path&, int64_t size, const fs::path& file);
/// Reads NAME.txt beside the data's images, where there are such files. Throws Error when only some
/// images have one.
void read_caption_files(const fs::path&, Dataset&);

/// Allocates uint8 of this shape, for images (N, C, H, W), in a file where one is named. Throws
/// Error when that is more than this process's share of half of the machine's memory, or than the
/// file's disk has left; `path` is for the message.
Tensor allocate_bytes(const fs::path& path, at::IntArrayRef shape, const fs::path& file = {});

/// uint8 of this shape in a file, mapped: what is written to it goes to the file. Throws Error when
/// the file isn't there or has another size.
Tensor map_bytes(const fs::path& file, at::IntArrayRef shape);

/// (N, 1 or 3, h, w) uint8 to (N, 3, size, size), scaled and cropped where the sizes differ.
Tensor fit_images(const fs::path& path, const Tensor& images, int64_t size);

/// Calls work(i) for i in [0, count) on as many threads as LibTorch is set to use. An exception
/// stops the rest and is thrown again here.
void for_each_in_parallel(int64_t count, const std::function<void(int64_t)>& work);

}  // namespace tiller
