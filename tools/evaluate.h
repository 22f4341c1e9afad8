#pragma once
#include "tools/command.h"

namespace tiller {

/// `tiller evaluate --task inversion`: every method takes every image to noise and back.
int evaluate_inversion(const Flags&);
/// `tiller evaluate --task editing`: every method makes every edit.
int evaluate_editing(const Flags&);

/// `tiller evaluate --images`: how images that there are compare with a reference.
int evaluate_images(const Flags&);

/// `tiller evaluate --scheme ...`: the same seeds by every guidance scheme, compared with a
/// reference and with each other.
int evaluate_schemes(const Flags&);

}  // namespace tiller
