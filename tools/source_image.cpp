#include "tools/source_image.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/image.h"
#include "tools/init_image.h"

namespace tiller {

Tensor read_source_image(const std::string& file, const ImageSize& size) {
  const Tensor image = read_opaque_image(file);
  return size == ImageSize{} ? image : covering(image, size)[0].round().to(at::kByte);
}

void require_source_size(const Flags& flags, const Generation& generation) {
  const Model& model = generation.model;
  const ImageSize &size = generation.request.size, usual{model.image_size, model.image_size};
  if (model.vae || flags.has("size") || size == usual) return;
  throw UsageError("--image: got " + to_text(size) + " pixels, expected " + to_text(usual) +
                   " as the model draws. --size " + std::to_string(model.image_size) +
                   " scales and crops.");
}

}  // namespace tiller
