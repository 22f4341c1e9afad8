#include "tools/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace tiller {
namespace {

constexpr size_t narrowest = 24;

/// Columns that UTF-8 takes on a terminal, a character each.
size_t terminal_columns(const std::string& text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::vector<size_t> column_widths(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], terminal_columns(row[i]));
  }
  return widths;
}

}  // namespace

size_t text_width() {
  constexpr size_t least = 60, most = 100;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_col) return most;
  return std::clamp<size_t>(size.ws_col, least, most);
}

std::string wrapped(const std::string& text, size_t start) {
  const size_t width = text_width(), room = std::max(narrowest, width - std::min(width, start));
  std::string lines;
  size_t begin = 0;
  while (text.size() - begin > room) {
    size_t end = text.rfind(' ', begin + room);
    if (end == std::string::npos || end <= begin) end = text.find(' ', begin + room);
    if (end == std::string::npos) break;
    lines += text.substr(begin, end - begin) + "\n" + std::string(start, ' ');
    begin = end + 1;
  }
  return lines + text.substr(begin);
}

std::string table(const std::vector<std::vector<std::string>>& rows, size_t indent) {
  const auto widths = column_widths(rows);
  std::string text;
  for (const auto& row : rows) {
    std::string line(indent, ' ');
    size_t column = indent;
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      column += widths[i] + 2;
      line += row[i] + std::string(widths[i] + 2 - terminal_columns(row[i]), ' ');
    }
    line += row.empty() ? "" : wrapped(row.back(), column);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string human_count(double number) {
  const char* units[] = {"", " k", " M", " G", " T", " P"};
  size_t unit = 0;
  while (number >= 999.5 && unit + 1 < std::size(units)) number /= 1000, ++unit;
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3g%s", number, units[unit]);
  return buffer;
}

std::string shown_number(double value, const char* format) {
  if (std::isnan(value)) return "-";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace tiller
