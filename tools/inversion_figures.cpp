#include "tools/inversion_figures.h"

#include <algorithm>
#include <cmath>

namespace tiller {

const std::vector<FigureColumn>& figure_columns() {
  using F = InversionFigures;
  static const std::vector<FigureColumn> columns = {
      {"latent_mse", "latent MSE", "mean squared difference of the latent and what came back",
       &F::latent_mse},
      {"latent_max_error", "latent max", "largest difference of any latent value, over all images",
       &F::latent_max, true},
      {"bit_equal", "bit-equal", "share of the images whose latent came back with every bit",
       &F::bit_equal},
      {"image_mse", "image MSE", "mean squared difference of the images, values of 0 to 1",
       &F::image_mse},
      {"psnr", "PSNR", "of the images, in dB, the mean over images; inf: equal", &F::psnr},
      {"ssim", "SSIM", "structural similarity of the images; 1: equal", &F::ssim},
      {"lpips", "LPIPS", "perceptual distance of the images; 0: equal", &F::lpips},
      {"noise_std", "noise std", "standard deviation of the noise latent; of noise: 1",
       &F::noise_std},
      {"noise_kurtosis", "kurtosis", "fourth moment of the noise latent over std^4; of noise: 3",
       &F::noise_kurtosis},
      {"evaluations", "evaluations", "evaluations of the network an image, both ways",
       &F::evaluations},
      {"seconds", "seconds", "an image, both ways, without the VAE", &F::seconds},
  };
  return columns;
}

double aggregate(const MethodFigures& method, const FigureColumn& column) {
  double sum = 0, most = 0;
  size_t count = 0;
  for (const auto& image : method.images) {
    const double value = image.*column.value;
    if (std::isnan(value)) continue;
    sum += value;
    most = std::max(most, value);
    ++count;
  }
  if (count == 0) return InversionFigures::none;
  return column.largest ? most : sum / double(count);
}

size_t failures(const MethodFigures& method) {
  return size_t(std::count_if(method.images.begin(), method.images.end(),
                              [](const auto& image) { return !image.failure.empty(); }));
}

Json to_json(const InversionFigures& figures) {
  Json json;
  for (const auto& column : figure_columns()) {
    const double value = figures.*column.value;
    json[column.key] = std::isfinite(value) ? Json(value) : Json(nullptr);
  }
  if (!figures.failure.empty()) json["failure"] = figures.failure;
  return json;
}

InversionFigures figures_from(const Json& json) {
  InversionFigures figures;
  for (const auto& column : figure_columns())
    if (json.contains(column.key) && json[column.key].is_number())
      figures.*column.value = json[column.key].get<double>();
  if (json.contains("failure") && json["failure"].is_string())
    figures.failure = json["failure"].get<std::string>();
  if (figures.image_mse == 0) figures.psnr = std::numeric_limits<double>::infinity();
  return figures;
}

}  // namespace tiller
