#pragma once
#include "tools/recipe.h"

namespace tiller {

/// Where results go, checked before any sampling.
struct Outputs {
  fs::path path;
  bool folder = false;  ///< Else one PNG: an image, or a grid of several.
  bool grid = false;    ///< Draw one; in a folder it is grid.png beside the images.
  fs::path latents;     ///< Empty: none.
  fs::path preview;     ///< Empty: none.
  fs::path inversion;   ///< What the way back to noise needs; empty: none.
  fs::path pairs;       ///< Noise and what came of it; empty: none.
  fs::path maps;        ///< Raw maps of words; empty: none.
  bool skip_existing = false;
};

/// Throws UsageError unless the file is called .safetensors, Error unless it can be written.
void require_tensor_file(const std::string& flag, const fs::path&);
/// Throws Error unless a file can be written there, before any work is done for it.
void require_writable_file(const std::string& flag, const fs::path&);

/// The --output of what writes a report; throws UsageError where there is none, Error where it
/// can't be a folder.
fs::path report_folder(const Flags&);

/// Files by the flags that name them; empty ones don't count.
using NamedFiles = std::vector<std::pair<std::string, fs::path>>;
/// Throws UsageError where one file is to be written twice, or is one that is read.
void require_apart(const NamedFiles& written, const NamedFiles& read);

/// Flags for the above.
const std::vector<Flag>& output_flags();

/// Throws UsageError when the flags don't fit each other, Error when nothing can be written there.
Outputs choose_outputs(const Flags&, const GenerateRequest&, int64_t images);

/// 00012.png in the folder, or the file itself.
fs::path image_path(const Outputs&, size_t index);
fs::path grid_path(const Outputs&);

/// Columns of the run's grid.
int64_t grid_columns(const GenerateRequest&, int64_t images);

/// Draws and writes a grid of all images of a run. pixels: (rows * N, 3, H, W) uint8, N images a
/// row of a comparison.
void write_grid(const Outputs&, const Generation&, const Tensor& pixels,
                std::span<const std::vector<ChosenGuidance>> rows);

}  // namespace tiller
