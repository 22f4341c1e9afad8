#pragma once
#include <limits>

#include "tools/request.h"

namespace tiller {

/// What was measured of one image, on its way to noise and back. NaN: not measured.
struct InversionFigures {
  static constexpr double none = std::numeric_limits<double>::quiet_NaN();
  double latent_mse = none, latent_max = none;
  double bit_equal = none;                                          ///< 1 or 0.
  double image_mse = none, psnr = none, ssim = none, lpips = none;  ///< On values of 0 to 1.
  double noise_std = none, noise_kurtosis = none;
  double evaluations = none;  ///< Of the network, in both directions.
  double seconds = none;      ///< In both directions, without the VAE.
  std::string failure = {};   ///< Why there is nothing; "": there is.
};

/// A column of the tables, and how the figures of several images become one.
struct FigureColumn {
  std::string key, title, meaning;
  double InversionFigures::*value;
  bool largest = false;  ///< The greatest counts, else the mean.
};
const std::vector<FigureColumn>& figure_columns();

/// All figures of a method, or of the VAE alone.
struct MethodFigures {
  std::string method;  ///< As written.
  std::vector<InversionFigures> images;
  std::vector<std::string> pictures;  ///< Files of the first images' reconstructions.
};

/// Over all images that didn't fail; NaN where none was measured.
double aggregate(const MethodFigures&, const FigureColumn&);
size_t failures(const MethodFigures&);

/// What isn't finite becomes null.
Json to_json(const InversionFigures&);
/// The inverse; what is missing is NaN, and psnr infinite where image_mse is 0.
InversionFigures figures_from(const Json&);

}  // namespace tiller
