#pragma once
#include "models/branch.h"

namespace tiller {

/// The tensors of a conditioning that have a row for each image.
inline constexpr Tensor Conditioning::*conditioning_parts[] = {
    &Conditioning::label,    &Conditioning::context,  &Conditioning::pooled,
    &Conditioning::time_ids, &Conditioning::guidance, &Conditioning::channels,
    &Conditioning::image};

}  // namespace tiller
