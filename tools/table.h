#pragma once
#include <string>
#include <vector>

namespace tiller {

/// How wide lines may be: as a terminal on standard output, 60 to 100 columns; 100 elsewhere.
size_t text_width();

/// `text` broken at spaces into lines that start at column `start` and end by text_width().
std::string wrapped(const std::string& text, size_t start);

/// Rows of cells as lines with aligned columns, `indent` spaces before each; the last column wraps
/// at text_width().
std::string table(const std::vector<std::vector<std::string>>& rows, size_t indent = 0);

/// 12345678 as "12.3 M".
std::string human_count(double number);

/// By printf's format; "-" where it isn't a number.
std::string shown_number(double value, const char* format = "%.4g");

/// A field of a CSV file, quoted where it must be.
std::string csv_field(const std::string& text);

}  // namespace tiller
