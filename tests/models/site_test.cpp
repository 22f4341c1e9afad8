#include "models/site.h"

#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller::test {
namespace {

using Orders = std::vector<int>;

/// d0 to d5, m0 and m1, u0 to u3.
std::vector<Site> named_sites() {
  std::vector<Site> all;
  const auto add = [&](Part part, int count, const std::string& block) {
    for (int i = 0; i < count; ++i)
      all.push_back({block + std::to_string(i / 2) + ".attentions." + std::to_string(i % 2), part,
                     i, static_cast<int>(all.size()), 0, 1, 1});
  };
  add(Part::down, 6, "down_blocks.");
  add(Part::mid, 2, "mid_block.");
  add(Part::up, 4, "up_blocks.");
  return all;
}

std::string site_message(const std::string& pattern, const std::vector<Site>& among) {
  try {
    select_sites(pattern, among);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Sites, AreChosenByPatterns) {
  const std::pair<const char*, Orders> cases[] = {
      {"down", {0, 1, 2, 3, 4, 5}},
      {"mid", {6, 7}},
      {"up", {8, 9, 10, 11}},
      {"all", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
      {"d4", {4}},
      {"m1", {7}},
      {"u0+u3", {8, 11}},
      {"d4-23", {4, 5}},
      {"d4-d23", {4, 5}},
      {"d1-3+mid+u2", {1, 2, 3, 6, 7, 10}},
      {"u2+d1+d1-1", {1, 10}},
      {"down_blocks.1.*", {2, 3}},
      {"*.attentions.1", {1, 3, 5, 7, 9, 11}},
      {"up_blocks.0.attentions.1", {9}},
      {"mid_block.?.attentions.0+d5", {5, 6}},
  };
  for (const auto& [pattern, expected] : cases)
    EXPECT_EQ(select_sites(pattern, named_sites()), expected) << pattern;
}

TEST(Sites, WhatMatchesNothingIsAnErrorThatListsWhatThereIs) {
  EXPECT_EQ(site_message("d6-23", named_sites()),
            "layers: 'd6-23' matches nothing; this model has d0-5, m0-1 and u0-3 "
            "(or mid, down, up, all, or a path with *).");
  for (const std::string pattern : {"", "mid+", "+mid", "mid+u4", "d3-1", "d1-u2", "middle", "D1",
                                    "d", "d-1", "d 1", "d1234567890123", "down_blocks.1", "m0,m1"})
    EXPECT_NE(site_message(pattern, named_sites()), "") << pattern;
  const auto middle = std::vector<Site>{named_sites()[6]};
  EXPECT_NE(site_message("up", middle).find("this model has m0 ("), std::string::npos);
  EXPECT_NE(site_message("all", {}).find("nothing: this model has no attention"),
            std::string::npos);
}

TEST(Sites, HaveShortNames) {
  const auto all = named_sites();
  EXPECT_EQ(short_name(all[3]), "d3");
  EXPECT_EQ(short_name(all[7]), "m1");
  EXPECT_EQ(short_name(all[8]), "u0");
  for (const auto& site : all)
    EXPECT_EQ(select_sites(short_name(site), all), Orders{site.order}) << short_name(site);
}

/// Convolutions of stride 2 round up.
TEST(Sites, TokenGridsRoundUp) {
  Site site = named_sites()[0];
  for (const auto& [downscale, height, width] :
       {std::tuple{1, 7, 9}, {2, 4, 5}, {4, 2, 3}, {8, 1, 2}, {16, 1, 1}}) {
    site.downscale = downscale;
    const Grid grid = token_grid(site, 7, 9);
    EXPECT_EQ(grid.height, height) << downscale;
    EXPECT_EQ(grid.width, width) << downscale;
  }
}

}  // namespace
}  // namespace tiller::test
