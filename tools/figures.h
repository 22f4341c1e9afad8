#pragma once
#include <limits>
#include <map>

#include "tools/request.h"

namespace tiller {

/// What was measured of one image.
struct ImageFigures {
  std::map<std::string, double> values;  ///< By the columns' keys; not there: not measured.
  std::string failure = {};              ///< Why there is nothing; "": there is.

  /// NaN: not measured.
  double at(const std::string& key) const;
};

/// A column of the tables, and how the figures of several images become one.
struct FigureColumn {
  std::string key, title, meaning;
  bool largest = false;  ///< The greatest counts, else the mean.
};

/// All figures of a method.
struct MethodFigures {
  std::string method;  ///< As written.
  std::vector<ImageFigures> images;
  std::vector<std::string> pictures;  ///< Files of what it made of the first images; "": failed.
};

/// Over all images that didn't fail; NaN where none was measured.
double aggregate(const MethodFigures&, const FigureColumn&);
size_t failures(const MethodFigures&);

/// What is infinite becomes "inf"; what isn't a number is left out.
Json to_json(const ImageFigures&);
/// The inverse; what it can't read wasn't measured.
ImageFigures figures_from(const Json&);

}  // namespace tiller
