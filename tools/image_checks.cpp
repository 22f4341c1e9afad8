#include "tools/image_checks.h"

#include "io/error.h"

namespace tiller {
namespace {

void require_image_to_edit(const Generation& generation) {
  if (!generation.init.image.defined())
    throw UsageError("--init-image: got none, expected the image to edit: the model changes one.");
  if (generation.init.mask.defined())
    throw UsageError("--mask: got " + generation.request.image.mask +
                     ", expected none: the model edits the whole image.");
}

}  // namespace

void require_read_images(const Generation& generation) {
  const Network& network = *generation.model.network;
  const int64_t in = network.in_channels(), out = network.out_channels();
  if (!generation.model.text || in == out) return;
  if (generation.model.edits()) return require_image_to_edit(generation);
  if (in != 2 * out + 1)
    throw Error("--model: got a UNet that reads " + std::to_string(in) + " channels, expected " +
                std::to_string(out) + ", of one that edits images " + std::to_string(2 * out) +
                " or, of one that inpaints, " + std::to_string(2 * out + 1) + ".");
  if (!generation.init.mask.defined())
    throw UsageError("--mask: got none, expected it and --init-image: the model inpaints.");
  if (generation.request.image.soft_mask)
    throw UsageError(
        "--soft-mask: got it, expected --mask alone: the model reads the mask itself.");
}

void require_latents_alone(const Model& model) {
  if (model.network->in_channels() <= model.network->out_channels()) return;
  throw UsageError(
      std::string("--model: got ") +
      (model.edits() ? "a network that edits images (InstructPix2Pix)" : "an inpainting network") +
      ", expected one that reads latents alone.");
}

}  // namespace tiller
