#include "training/report.h"

#include "io/image.h"
#include "tests/training/dataset_files.h"

namespace tiller::test {
namespace {

class TrainingPage : public DatasetFiles {
 protected:
  std::string page() const {
    write_training_page(root);
    return read_file(root / "index.html");
  }
  static int count(const std::string& text, const std::string& part) {
    int found = 0;
    for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++found;
    return found;
  }
};

TEST_F(TrainingPage, ShowsCurvesAndGrids) {
  write("log.jsonl",
        "{\"step\":50,\"loss\":0.5,\"learning_rate\":1e-4,\"images_per_second\":30}\n"
        "{\"step\":100,\"loss\":0.25,\"fd_r56\":81.5,\"fid\":97.25}\n{\"step\":150,\"lo");
  for (const std::string step : {"100", "50", "1000"})
    write_png(root / "samples" / ("step-" + step + ".png"), at::zeros({3, 4, 4}, at::kByte));
  write("samples/other.png", "no image");
  const std::string text = page();
  EXPECT_NE(text.find("Step 100, loss 0.25."), std::string::npos);
  for (const std::string part :
       {"Loss", "Learning rate", "Images a second", "fd_r56", "81.5", "97.25"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
  EXPECT_EQ(text.find("Norm of the gradient"), std::string::npos);
  EXPECT_EQ(count(text, "<figcaption>step "), 3);
  EXPECT_LT(text.find("<figcaption>step 1000"), text.find("<figcaption>step 100<"));
}

TEST_F(TrainingPage, StaysSmall) {
  std::string log;
  for (int step = 1; step <= 3000; ++step)
    log += "{\"step\":" + std::to_string(step) + ",\"loss\":1}\n";
  write("log.jsonl", log);
  for (int step = 1; step <= 60; ++step)
    write_png(root / "samples" / ("step-" + std::to_string(step) + ".png"),
              at::zeros({3, 4, 4}, at::kByte));
  const std::string text = page();
  EXPECT_EQ(count(text, "\"margin\":null"), 500);
  EXPECT_NE(text.find("\"x\":3000.0"), std::string::npos);
  EXPECT_LE(count(text, "<figcaption>"), 24);
  EXPECT_NE(text.find("<figcaption>step 60<"), std::string::npos);
}

TEST_F(TrainingPage, NamesItsFolder) {
  const std::string title = "Training: " + root.filename().string() + "<";
  EXPECT_NE(page().find(title), std::string::npos);
  write_training_page(root / "");
  EXPECT_NE(read_file(root / "index.html").find(title), std::string::npos);
}

TEST_F(TrainingPage, StandsWithoutALog) {
  EXPECT_NE(page().find("Nothing is logged yet."), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
