#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace tiller {
using at::Tensor;

/// Text as it may stand between tags and in attributes: markup characters escaped, control
/// characters left out.
std::string html_escaped(const std::string& text);

/// What a page calls a file or folder: its name without where it lies, also where a slash ends its
/// path.
std::string name_of(const std::filesystem::path&);

/// An image with a line of text below.
struct HtmlFigure {
  Tensor image;  ///< (3, H, W) uint8.
  std::string caption;
  std::string png = {};  ///< The image as a file has it; "": it is packed, which takes a while.
};

/// Of a PNG file. Throws Error where it can't be read.
HtmlFigure png_figure(const std::filesystem::path&, const std::string& caption);

/// A cell of a table: text, or an image.
struct HtmlCell {
  std::string text;
  std::optional<double> number = {};  ///< What it is sorted by, and stands to the right; else text.
  Tensor image = {};                  ///< (3, H, W) uint8, in place of the text.
};

struct HtmlTable {
  std::vector<std::string> header;
  std::vector<std::vector<HtmlCell>> rows;
  std::string caption = {};
  bool sortable = true;  ///< A click on a column's header sorts by it.
};

/// A point of a chart, with half the height of its error bar; NaN: none.
struct HtmlPoint {
  double x, y, margin;
  std::string label = {};  ///< Shown beside the numbers when it is pointed at.
};

struct HtmlSeries {
  std::string name;
  std::vector<HtmlPoint> points;
  bool line = true;  ///< Points are joined.
};

struct HtmlChart {
  std::string title, x, y;  ///< Of the chart and its axes.
  std::vector<HtmlSeries> series;
};

/// A page that is one file: images, style and script are inside, and nothing is fetched from
/// anywhere. Readable on paper, on small screens and in the dark. All texts are escaped.
class HtmlPage {
 public:
  explicit HtmlPage(const std::string& title);

  void heading(const std::string& text);
  void paragraph(const std::string& text);
  /// Text in a fixed-width font with a box around it, such as a command.
  void code(const std::string& text);
  void table(const HtmlTable&);
  /// Images side by side, as many as fit. Small ones are enlarged by whole factors, without blur.
  void figures(const std::vector<HtmlFigure>&);
  /// A chart of lines and points, drawn by Chart.js, which the page carries. Where Tiller was built
  /// without it, a table of the points.
  void chart(const HtmlChart&);
  /// One of several images of one size at a time, chosen by a slider.
  void slider(const std::vector<HtmlFigure>&);
  /// Names and values, one a line.
  void list(const std::vector<std::pair<std::string, std::string>>& entries);

  /// The whole page. The same content gives the same bytes.
  std::string text() const;

 private:
  std::string title_, body_;
  bool charts_ = false;
};

}  // namespace tiller
