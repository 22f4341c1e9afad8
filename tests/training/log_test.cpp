#include "training/log.h"

#include "tests/training/dataset_files.h"

namespace tiller::test {
namespace {

class Log : public DatasetFiles {
 protected:
  std::vector<int64_t> steps() const {
    std::vector<int64_t> found;
    std::ifstream file(root / "log.jsonl");
    for (std::string line; std::getline(file, line);)
      found.push_back(std::stoll(line.substr(line.find(':') + 1)));
    return found;
  }
};

TEST_F(Log, DropsTheStepsThatWillBeRepeated) {
  {
    TrainLog log(root / "log.jsonl", 0);
    for (const int64_t step : {10, 20, 30, 40}) log.write({.step = step, .loss = 0.5});
  }
  TrainLog log(root / "log.jsonl", 30);
  EXPECT_EQ(steps(), (std::vector<int64_t>{10, 20, 30}));
  log.write({.step = 40});
  EXPECT_EQ(steps(), (std::vector<int64_t>{10, 20, 30, 40}));
  TrainLog afresh(root / "log.jsonl", 0);
  EXPECT_EQ(steps(), (std::vector<int64_t>{}));
}

/// A kill may leave half a line at the end.
TEST_F(Log, DropsADamagedLine) {
  write("log.jsonl", "{\"step\":10,\"loss\":1.0}\n{\"step\":20,\"lo");
  TrainLog log(root / "log.jsonl", 20);
  log.write({.step = 30});
  EXPECT_EQ(steps(), (std::vector<int64_t>{10, 30}));
}

TEST_F(Log, KeepsLinesWhoseStepIsNoNumber) {
  write("log.jsonl", "{\"step\":\"x\",\"loss\":1.0}\n{\"step\":30,\"loss\":1.0}\n");
  TrainLog log(root / "log.jsonl", 20);
  EXPECT_EQ(read_file(root / "log.jsonl"), "{\"step\":\"x\",\"loss\":1.0}\n");
}

}  // namespace
}  // namespace tiller::test
