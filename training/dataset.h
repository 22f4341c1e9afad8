#pragma once
#include <ATen/core/Tensor.h>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// Images to train on, decoded.
struct Dataset {
  Tensor images;  ///< (N, 3, size, size) uint8 RGB; of pairs (N, C, size, size) float32.
  Tensor noise;   ///< As the images: what each of a pair came from; undefined: drawn anew.
  Tensor labels;  ///< (N) int64; undefined when there are none.
  std::vector<std::string> class_names;  ///< One a label value; may be empty.
  std::vector<std::string> names;        ///< The files', in folders and archives; else empty.
  std::vector<std::string> captions;     ///< One an image; empty when there are none.
  Tensor groups;                         ///< (N) int64 of metadata.jsonl; undefined without.
  std::vector<std::string> skipped;      ///< Files that could not be decoded, with the reason.
  std::vector<std::string> empty;        ///< Folders at the top without an image: no classes.
  bool mapped = false;                   ///< The images lie in a file, not in memory.
};

/// Loads what lies at `path`, told apart by content: a folder of images, a tar file of one (also
/// compressed), a zip, a folder of webdataset's shards (KEY.jpg with KEY.txt, KEY.cls or KEY.json
/// beside it, as in any archive), guided-diffusion's .npz, CIFAR-10's binary files (a folder of
/// data_batch_*.bin or one such file) or MNIST's IDX files (*-images-idx3-ubyte and its labels,
/// plain or gzipped; their folder or the file of images), or pairs (.safetensors with `noise`,
/// `samples`, of classes `labels`, and JSON lists of texts as metadata: `class_names`, `captions`)
/// as `tiller generate --save-pairs` writes them, which must have this size already. An image's
/// class is the folder that it lies in, classes sorted by name; images that lie directly at the top
/// have none. Other sizes are scaled and cropped to `size`; grey becomes RGB. The order is the
/// files' order by name. A folder may have captions: metadata.jsonl, a line {"file_name", "text",
/// "group", "split"} an image as Hugging Face's image folders have it (the last two are optional;
/// images of another split than "train" are left out), or NAME.txt beside each NAME.png. file:
/// where the images are decoded to and then mapped from; empty: memory, half of which they may
/// take in all of this machine's processes. Pairs are always held in memory. Throws Error when
/// nothing usable is there.
Dataset load_dataset(const fs::path& path, int64_t size, const fs::path& file = {});

/// Images and labels to where they are trained on. Mapped images stay.
void move_to(Dataset&, at::Device);

}  // namespace tiller
