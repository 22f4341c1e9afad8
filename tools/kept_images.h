#pragma once
#include "io/process_group.h"
#include "tools/outputs.h"

namespace tiller {

/// What a run keeps of its images for files that hold all of them, a tensor a batch. Lists are
/// empty where nothing asks for them.
struct KeptImages {
  std::vector<Tensor> straightness;    ///< Of a flow's paths, one number an image.
  std::vector<Tensor> samples;         ///< Only where latents are written.
  std::vector<Tensor> pixels;          ///< Only where a grid is drawn.
  std::vector<Tensor> attention;       ///< Maps of words, and
  std::vector<Tensor> effects;         ///< theirs; only where asked for.
  std::vector<InversionState> states;  ///< At the image, and
  std::vector<Tensor> starts;          ///< the noise that they began with; only where asked for.
};

/// Adds a batch.
void keep(KeptImages&, const Generation&, const Outputs&, const DoneImages&);
/// Adds what comes after.
void append(KeptImages&, KeptImages);
/// The images of all processes in the order of ranks, in the first one; nothing in the others.
/// States stay where they are.
KeptImages gathered(ProcessGroup&, const KeptImages&);

/// Maps and, where a grid is drawn beside them, pixels of all images.
DoneImages collected_maps(const KeptImages&);

}  // namespace tiller
