#pragma once
#include "tools/generation.h"

namespace tiller {

/// Prompts are for models that read text, classes for those that know some: throws UsageError
/// otherwise.
void check_subject(const Generation&);

/// Fills in the images of a run, each with its seed and the class or prompt whose turn it is, and
/// the request's count and classes.
void choose_images(Generation&);

}  // namespace tiller
