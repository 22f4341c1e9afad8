#include "tools/evaluation_report.h"

#include "tests/tools/program.h"

namespace tiller::test {
namespace {

using EvaluationReports = ProgramTest;

TEST_F(EvaluationReports, CountWhatFailedApart) {
  EvaluationReport report;
  report.folder = folder / "report";
  report.columns = {{"psnr", "PSNR", "in dB"}};
  report.methods = {{"bdia", {{.values = {{"psnr", 20}}}, {.values = {}, .failure = "lost"}}, {}}};
  write_report(report, {});
  EXPECT_EQ(bytes("report/results.csv"), "method,images,failed,psnr\nbdia,1,1,20\n");
  const auto json = report_json(report).at("methods").at(0);
  EXPECT_EQ(json.at("images"), 1);
  EXPECT_EQ(json.at("failed"), 1);
  EXPECT_NE(report_table(report).find("1 of 2 images failed, the first: lost"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
