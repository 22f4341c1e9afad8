#include "tools/scheme_report.h"

#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class SchemeReports : public ProgramTest {
 protected:
  SchemeReport two_of_three() {
    Figure distance{.key = "fid", .title = "FID", .value = 12.5, .margin = 0.25};
    distance.lower_is_better = true;
    SchemeReport report;
    report.folder = folder / "report";
    report.planned = 3;
    report.schemes = {{.scheme = {"none"},
                       .count = 4,
                       .figures = {distance},
                       .cost = {.evaluations = 30, .flops = 2e9}},
                      {.scheme = {"tpg"}, .failure = "out of memory."}};
    return report;
  }
};

TEST_F(SchemeReports, WhatFailedHasNoCost) {
  const SchemeReport report = two_of_three();
  write_report(report);
  const std::string csv = bytes("report/results.csv");
  EXPECT_NE(csv.find("none,4,12.5,0.25,30,0,2000000000,0,0\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("tpg,0,,,,,,,\n"), std::string::npos) << csv;
  const Json failed = report_json(report).at("schemes").at(1);
  EXPECT_FALSE(failed.contains("flops"));
  EXPECT_EQ(failed.at("failure"), "out of memory.");
}

TEST_F(SchemeReports, SayThatSchemesAreMissing) {
  SchemeReport report = two_of_three();
  const std::string note = "Unfinished: 2 of 3 schemes are here.";
  write_report(report);
  EXPECT_NE(bytes("report/index.html").find(note), std::string::npos);
  EXPECT_EQ(report_json(report).at("planned"), 3);
  report.planned = 2;
  EXPECT_EQ(report_table(report).find("Unfinished"), std::string::npos);
}

TEST_F(SchemeReports, TerminalHasMarginsInColumns) {
  const std::string text = report_table(two_of_three());
  EXPECT_EQ(text.find("scheme  FID          evaluations"), text.find("scheme")) << text;
  EXPECT_NE(text.find("\nnone    12.5 \u00b1 0.25  30 "), std::string::npos) << text;
  EXPECT_NE(text.find("\ntpg     -            - "), std::string::npos) << text;
}

}  // namespace
}  // namespace tiller::test
