#include <ATen/ATen.h>

#include "tests/training/dataset_files.h"
#include "training/batches.h"

namespace tiller::test {
namespace {

class Captions : public DatasetFiles {
 protected:
  /// Three images, and a metadata.jsonl of these lines.
  fs::path folder(const std::string& lines) const {
    write("data/a.png", png(10));
    write("data/b.png", png(20));
    write("data/more/c.png", png(30));
    write("data/metadata.jsonl", lines);
    return root / "data";
  }
};

TEST_F(Captions, FollowTheImagesSortedByName) {
  const Dataset data = load_dataset(folder(R"({"file_name": "more/c.png", "text": "third"}

{"file_name": "./a.png", "text": "first", "group": null, "width": 8}
)"),
                                    8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{10, 30}));
  EXPECT_EQ(data.captions, (std::vector<std::string>{"first", "third"}));
  EXPECT_FALSE(data.groups.defined());
  EXPECT_FALSE(data.labels.defined());
}

TEST_F(Captions, LeaveOutOtherSplitsAndNumberGroups) {
  const Dataset data =
      load_dataset(folder(R"({"file_name": "a.png", "text": "x", "group": "old", "split": "train"}
{"file_name": "b.png", "text": "y", "group": "new", "split": "held-out"}
{"file_name": "more/c.png", "text": "z", "group": "fresh"})"),
                   8);
  EXPECT_EQ(data.captions, (std::vector<std::string>{"x", "z"}));
  EXPECT_TRUE(data.groups.equal(at::tensor({1, 0}, at::kLong)));
}

TEST_F(Captions, AreDroppedWithImagesThatCantBeDecoded) {
  const fs::path path = folder(R"({"file_name": "a.png", "text": "first"}
{"file_name": "absent.png", "text": "nothing"}
{"file_name": "b.png", "text": "second"})");
  write("data/a.png", "no picture");
  const Dataset data = load_dataset(path, 8);
  EXPECT_EQ(data.captions, (std::vector<std::string>{"second"}));
  EXPECT_EQ(data.skipped.size(), 2u);
}

TEST_F(Captions, NameTheBrokenLine) {
  const auto expect = [&](const std::string& line, const std::string& part) {
    const auto good = R"({"file_name": "a.png", "text": "first"})" + std::string("\n");
    const std::string message = message_of(folder(good + line));
    EXPECT_NE(message.find("metadata.jsonl: line 2: "), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect("file_name,text", "got 'file_name,text'");
  expect(R"(["b.png"])", "expected {\"file_name\"");
  expect(R"({"text": "second"})", "file_name: got ''");
  expect(R"({"file_name": 7, "text": "second"})", "file_name: got 7, expected a text");
  expect(R"({"file_name": "b.png"})", "got no text");
  expect(R"({"file_name": "b.png", "text": ["second"]})", "text: got [\"second\"]");
  expect(R"({"file_name": "../b.png", "text": "x"})", "file_name: got '../b.png'");
  expect(R"({"file_name": "/b.png", "text": "x"})", "file_name: got '/b.png'");
  expect(R"({"file_name": "a.png", "text": "again"})", "a second time");
}

TEST_F(Captions, NeedAnImageToTrainOn) {
  const auto line = R"({"file_name": "a.png", "text": "x", "split": "held-out"})";
  EXPECT_NE(message_of(folder(line)).find("got no images to train on"), std::string::npos);
}

TEST_F(Captions, MayLieBesideTheImages) {
  write("data/a.png", png(10));
  write("data/b.png", png(20));
  write("data/a.txt", "the first\n");
  EXPECT_NE(message_of(root / "data").find("captions for 1 of 2 images"), std::string::npos);
  write("data/b.txt", "the second");
  EXPECT_EQ(load_dataset(root / "data", 8).captions,
            (std::vector<std::string>{"the first", "the second"}));
}

/// Ninety images of one group and ten of another.
Dataset lopsided() {
  Dataset data;
  data.images = at::arange(100, at::kByte).view({-1, 1, 1, 1}).expand({-1, 3, 2, 2});
  data.groups = (at::arange(100) >= 90).to(at::kLong);
  return data;
}

TEST(Balance, LetsSmallGroupsCatchUp) {
  const Dataset data = lopsided();
  for (const auto& [balance, expected] : {std::pair(1.0, 0.5), std::pair(0.5, 0.25)}) {
    Batches batches(data, 100, 3, false, balance);
    int64_t small = 0;
    for (int64_t step = 0; step < 40; ++step)
      small += (batches.indices(step) >= 90).sum().item<int64_t>();
    EXPECT_NEAR(small / 4000.0, expected, 0.035) << balance;
  }
}

TEST(Balance, AStepDependsOnSeedAndStepAlone) {
  const Dataset data = lopsided();
  Batches steady(data, 20, 3, false, 1), jumping(data, 20, 3, false, 1);
  std::vector<Tensor> chosen;
  for (int64_t step = 0; step < 6; ++step) chosen.push_back(steady.indices(step));
  for (const int64_t step : {5, 1, 3}) EXPECT_TRUE(jumping.indices(step).equal(chosen[step]));
  EXPECT_FALSE(chosen[0].equal(chosen[1]));
}

TEST(Balance, NeedsGroupsOrClasses) {
  Dataset data = lopsided();
  data.labels = std::exchange(data.groups, Tensor());
  EXPECT_NO_THROW(Batches(data, 4, 1, false, 1));
  data.labels = Tensor();
  EXPECT_THROW(Batches(data, 4, 1, false, 1), UsageError);
}

}  // namespace
}  // namespace tiller::test
