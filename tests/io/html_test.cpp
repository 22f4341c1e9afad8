#include "io/html.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "io/chart_script.h"
#include "io/image.h"

namespace tiller::test {
namespace {

Tensor red(int64_t height, int64_t width) {
  Tensor image = at::zeros({3, height, width}, at::kByte);
  image[0].fill_(255);
  return image;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// A page with the text wherever a text may stand.
std::string page_of(const std::string& text) {
  HtmlPage page(text);
  page.heading(text);
  page.paragraph(text);
  page.code(text);
  page.list({{text, text}});
  page.figures({{red(2, 2), text}});
  page.table({{text}, {{{text}}, {{text, 1.0}}, {{text, {}, red(2, 2)}}}, text});
  return page.text();
}

TEST(Html, EscapesMarkupEverywhere) {
  const std::string nasty = "\"'><script>alert(1)</script>&amp;<img src=x onerror=y>";
  const std::string plain = page_of("plain"), hurt = page_of(nasty);
  for (const char* tag : {"<script", "<img", "onerror=\"", "<tr", "<figure"})
    EXPECT_EQ(count(hurt, tag), count(plain, tag)) << tag;
  EXPECT_EQ(count(hurt, html_escaped(nasty)), count(plain, "plain"));
  EXPECT_EQ(count(hurt, nasty), 0u);
}

TEST(Html, LeavesOutControlCharacters) {
  EXPECT_EQ(html_escaped(std::string("a\0b\x1b[1m\x7f\n\tc", 11)), "ab[1m\n\tc");
}

TEST(Html, FetchesNothing) {
  const std::string text = page_of("x");
  for (const char* part : {"http:", "https:", "src=\"/", "url(", "@import", "href"})
    EXPECT_EQ(count(text, part), 0u) << part;
}

/// The base64 of a PNG begins with its signature and ends in IEND and its checksum.
TEST(Html, EmbedsWholePngs) {
  HtmlPage page("x");
  page.figures({{red(7, 5), "seven by five"}});
  const std::string text = page.text(), start = "data:image/png;base64,";
  const size_t begin = text.find(start) + start.size();
  const std::string data = text.substr(begin, text.find('"', begin) - begin);
  EXPECT_TRUE(data.starts_with("iVBORw0KGgo"));
  EXPECT_EQ(data.size() % 4, 0u);
  EXPECT_NE(text.find("alt=\"seven by five\""), text.npos);
}

TEST(Html, EmbedsFilesAsTheyAre) {
  const auto page_of = [](const HtmlFigure& figure) {
    HtmlPage page("x");
    page.figures({figure});
    return page.text();
  };
  EXPECT_NE(page_of({red(7, 5), "x", "abc"}).find("base64,YWJj\""), std::string::npos);
  const fs::path file = fs::temp_directory_path() / ("tiller-" + std::to_string(getpid()) + ".png");
  write_png(file, red(7, 5));
  EXPECT_EQ(page_of(png_figure(file, "x")), page_of({red(7, 5), "x"}));
  fs::remove(file);
}

TEST(Html, EnlargesSmallImagesByWholeFactors) {
  HtmlPage page("x");
  page.figures({{red(16, 32), "small"}, {red(100, 200), "large"}});
  const std::string text = page.text();
  EXPECT_NE(text.find("class=\"small\" width=\"128\" height=\"64\""), text.npos);
  EXPECT_NE(text.find("<img width=\"200\" height=\"100\""), text.npos);
}

TEST(Html, TablesSortByExactNumbers) {
  HtmlPage page("x");
  page.table({{"method", "error"}, {{{"a"}, {"1e-3", 0.001}}, {{"b"}, {"-", std::nan("")}}}});
  const std::string text = page.text();
  EXPECT_NE(text.find("data-value=\"0.001"), text.npos);
  EXPECT_NE(text.find("data-value=\"\">-</td>"), text.npos);
  EXPECT_EQ(count(text, "<button"), 2u);
}

TEST(Html, SameContentSameBytes) { EXPECT_EQ(page_of("x"), page_of("x")); }

TEST(Html, ChartsCarryTheirPointsAndTheirScript) {
  HtmlPage plain("p"), page("p");
  page.chart({"by </script> scale",
              "scale",
              "FID",
              {{"cfg", {{1, 20.5, 0.5, "cfg:scale=1"}, {2, 18.25, std::nan(""), ""}}, true}}});
  const std::string text = page.text();
  EXPECT_EQ(text.find("by </script>"), text.npos) << "would end the script";
  if (!*chart_script()) {
    EXPECT_NE(text.find("18.25"), text.npos);
    return;
  }
  const size_t at = text.find("application/json\">") + 18;
  const auto json = nlohmann::json::parse(text.substr(at, text.find("</script>", at) - at));
  EXPECT_EQ(json.at("title"), "by </script> scale");
  const auto& points = json.at("datasets").at(0).at("data");
  EXPECT_EQ(points.at(0).at("margin"), 0.5);
  EXPECT_TRUE(points.at(1).at("margin").is_null());
  EXPECT_NE(text.find(chart_script()), text.npos);
  EXPECT_LT(plain.text().size(), 10'000u) << "a page without charts needs no script";
}

TEST(Html, SlidersHoldEveryFigure) {
  HtmlPage page("p");
  page.slider({{red(2, 2), "one"}, {red(2, 2), "two"}, {red(2, 2), "three"}});
  EXPECT_EQ(count(page.text(), "<figure>"), 3u);
  EXPECT_EQ(count(page.text(), "max=\"2\""), 1u);
}

}  // namespace
}  // namespace tiller::test
