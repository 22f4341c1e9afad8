#pragma once
#include "guidance/word_maps.h"

namespace tiller {

/// Where words lie, as prompt-to-prompt's LocalBlend has it (arXiv 2208.01626): a map's greatest
/// values in windows of an eighth of its sides, more than `threshold` times the greatest of all.
/// maps: (H, W); returns bool (H, W).
Tensor word_region(const Tensor& map, double threshold);

/// A batch of sources and edits (B, C, H, W) in which edits differ from their sources only where
/// `region` holds, bool (H, W); elsewhere to the bit.
Tensor blended(const Tensor& sample, const Tensor& region);

}  // namespace tiller
