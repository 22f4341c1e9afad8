#include "tools/init_image.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/image.h"

namespace tiller {
namespace {

ImageSize size_of(const Tensor& image) { return {image.size(1), image.size(2)}; }

Tensor read_mask(const ImageRequest& request, const ImageSize& image, const ImageSize& size) {
  const Tensor mask = read_image(request.mask);
  if (size_of(mask) != image)
    throw UsageError("--mask: got " + request.mask + " of " + to_text(size_of(mask)) +
                     " pixels, expected the init image's " + to_text(image) + ".");
  const Tensor gray = covering(mask, size).mean(1, true);
  return request.soft_mask ? gray / 255 : (gray >= 127.5).to(at::kFloat);
}

}  // namespace

Tensor covering(const Tensor& whole, const ImageSize& size) {
  if (size_of(whole) == size) return whole.unsqueeze(0).to(at::kFloat);
  const double scale = std::max(double(size.height) / double(whole.size(1)),
                                double(size.width) / double(whole.size(2)));
  const auto longest = [&](int64_t kept) {
    return std::max<int64_t>(1, int64_t(kLongestAspect * std::ceil(double(kept) / scale)));
  };
  const Tensor image = narrowed(narrowed(whole, 1, longest(size.height)), 2, longest(size.width));
  const int64_t height = std::max(size.height, int64_t(std::lround(scale * image.size(1))));
  const int64_t width = std::max(size.width, int64_t(std::lround(scale * image.size(2))));
  return at::_upsample_bicubic2d_aa(image.unsqueeze(0).to(at::kFloat), {height, width}, false)
      .narrow(2, (height - size.height) / 2, size.height)
      .narrow(3, (width - size.width) / 2, size.width)
      .clamp(0, 255);
}

InitImage read_init_image(const ImageRequest& request, ImageSize& size, int64_t multiple) {
  if (request.init_image.empty()) return {};
  const Tensor image = read_image(request.init_image);
  const ImageSize own = size_of(image);
  if (size == ImageSize{})
    size = {own.height / multiple * multiple, own.width / multiple * multiple};
  if (size.height < 1 || size.width < 1)
    throw UsageError("--init-image: got " + request.init_image + " of " + to_text(own) +
                     " pixels, expected at least " + std::to_string(multiple) + " a side.");
  InitImage init;
  init.image = covering(image, size) / 127.5 - 1;
  if (!request.mask.empty()) init.mask = read_mask(request, own, size);
  return init;
}

Tensor latent_mask(const Tensor& mask, int64_t height, int64_t width) {
  return at::upsample_nearest2d(mask, {height, width});
}

Tensor soft_latent_mask(const Tensor& mask, int64_t height, int64_t width) {
  return at::adaptive_avg_pool2d(mask, {height, width});
}

}  // namespace tiller
