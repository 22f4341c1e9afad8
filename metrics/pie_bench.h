#pragma once
/// PIE-Bench, arXiv 2310.01506: 700 photographs and paintings, each with an edit.
#include <ATen/core/Tensor.h>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// An edit, and where it may change the image.
struct PieEdit {
  std::string key;                        ///< Its name in mapping_file.json: "000000000000".
  fs::path image;                         ///< The file; it need not be there.
  std::string source, target;             ///< Prompts, without brackets.
  std::vector<std::string> source_words;  ///< What stood in [brackets], in order.
  std::vector<std::string> target_words;
  std::vector<std::string> blended_words;         ///< A word of each prompt; empty: none.
  int64_t type = 0;                               ///< 0 to 9, as pie_edit_types names them.
  std::vector<std::pair<int64_t, int64_t>> runs;  ///< Of the mask: start and length.
};

/// "random", "change object", ...: one a type.
const std::vector<std::string>& pie_edit_types();

/// Masks lie over images of this side.
constexpr int64_t pie_side = 512;
/// (512, 512) float32, 1 where the edit may change the image. As the authors', it is 1 on the
/// border of one pixel, "to avoid annotation errors in boundary".
Tensor pie_mask(const PieEdit&);

/// Reads FOLDER/mapping_file.json; images lie in FOLDER/annotation_images, or in FOLDER. Edits are
/// in the order of their names. Throws Error naming the edit and the key, what was found and what
/// was expected.
std::vector<PieEdit> read_pie_bench(const fs::path& folder);

}  // namespace tiller
