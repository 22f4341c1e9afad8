#pragma once
#include <optional>

#include "models/layers.h"

namespace tiller {

/// What leaves a residual block: x, through the shortcut where there is one, plus h. For the rows
/// as they are now; x may be from before they forked.
Tensor add_to_shortcut(Rows&, const std::optional<Conv2d>& shortcut, const Tensor& x,
                       const Unbiased& h);

}  // namespace tiller
