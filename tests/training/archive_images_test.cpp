#include "dataset_files.h"

#include <ATen/ATen.h>

namespace tiller::test {
namespace {

class TarImages : public DatasetFiles {};

TEST_F(TarImages, GivesWhatTheFolderGives) {
  std::vector<Entry> entries;
  for (const std::string name : {"frog/b.png", "cat/c.png", "frog/a.png", "cat/broken.png"}) {
    const auto bytes = name == "cat/broken.png" ? "damaged" : png(std::ssize(entries), 7, 8);
    write("folder/" + name, bytes);
    entries.push_back({"./" + name, bytes});
  }
  const auto folder = load_dataset(root / "folder", 8);
  for (const std::string filter : {"none", "gzip", "bzip2", "xz", "zstd"}) {
    write_archive(root / "data", entries, filter);
    const auto data = load_dataset(root / "data", 8);
    EXPECT_TRUE(at::equal(data.images, folder.images)) << filter;
    EXPECT_TRUE(at::equal(data.labels, folder.labels)) << filter;
    EXPECT_EQ(data.class_names, folder.class_names);
    ASSERT_EQ(data.skipped.size(), 1u);
    EXPECT_NE(data.skipped[0].find("cat/broken.png"), std::string::npos);
  }
}

TEST_F(TarImages, ReadsMoreThanOneBatch) {
  std::vector<Entry> entries;
  for (int i = 0; i < 600; ++i)
    entries.push_back({"train/" + std::to_string(i % 3) + "/" + std::to_string(1000 + i) + ".png",
                       png(i % 256, i / 256)});
  write_archive(root / "data.tar", entries, "none");
  const auto data = load_dataset(root / "data.tar", 8);
  ASSERT_EQ(data.images.size(0), 600);
  for (int64_t i = 0; i < 600; ++i) {
    const auto image = data.images[i];
    const auto number = image[0][0][0].item<int64_t>() + 256 * image[1][0][0].item<int64_t>();
    ASSERT_EQ(number, i % 200 * 3 + i / 200);
    ASSERT_EQ(data.labels[i].item<int64_t>(), i / 200);
  }
}

TEST_F(TarImages, IsUnharmedByHostileNames) {
  write("target.png", png(99));
  write_archive(root / "data.tar",
                {{(root / "cat/escaped.png").string(), png(1)},
                 {"cat/link.png", "", (root / "target.png").string()},
                 {"../../dog/up.png", png(2)},
                 {"dog/._up.png", "resource fork"}},
                "none");
  const auto data = load_dataset(root / "data.tar", 8);
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(data.images.size(0), 2);
  ASSERT_EQ(data.skipped.size(), 1u);
  EXPECT_NE(data.skipped[0].find("cat/link.png: got a link"), std::string::npos);
  EXPECT_FALSE(fs::exists(root / "cat"));
}

TEST_F(TarImages, RefusesWhatIsDamaged) {
  write_archive(root / "data.tar.gz",
                {{"cat/a.png", png(1)}, {"cat/b.bin", std::string(99999, 'x')}}, "gzip");
  const auto whole = read_file(root / "data.tar.gz");
  write("data.tar.gz", whole.substr(0, whole.size() - 40));
  EXPECT_NE(message_of(root / "data.tar.gz").find("damaged or cut short"), std::string::npos);
  write_archive(root / "data.tar", {{"data_batch_1.bin", "x"}}, "none");
  EXPECT_NE(message_of(root / "data.tar").find("without an image"), std::string::npos);
}

/// A zip marks names beyond ASCII as UTF-8.
TEST_F(TarImages, ReadsZipsOfAnyNames) {
  for (const auto& [image, folder] : {std::pair("a.png", "dog"), {"\u00e4.png", "\u732b"}}) {
    for (const fs::path name : {"cat", "dog", "data.zip"}) fs::remove_all(root / name);
    write(fs::path("cat") / image, png(3));
    write(fs::path(folder) / "b.png", png(5));
    const std::string command = "cd '" + root.string() +
                                "' && python3 -m zipfile -c data.zip cat/ " + folder +
                                "/ > /dev/null";
    if (std::system(command.c_str())) GTEST_SKIP() << "without Python";
    const auto data = load_dataset(root / "data.zip", 8);
    EXPECT_EQ(reds(data), (std::vector<int64_t>{3, 5}));
    EXPECT_EQ(data.class_names, (std::vector<std::string>{"cat", folder}));
  }
}

TEST_F(TarImages, ReadsCaptionsAndClassesBesideThem) {
  write_archive(root / "data.tar",
                {{"b.png", png(2)},
                 {"b.cls", "7\n"},
                 {"b.txt", "a bee\n"},
                 {"a.seg.png", png(1)},
                 {"a.json", R"({"caption": "an ant", "label": 4, "width": 8})"}},
                "none");
  const auto data = load_dataset(root / "data.tar", 8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{4, 7}));
  EXPECT_EQ(data.captions, (std::vector<std::string>{"an ant", "a bee"}));
}

TEST_F(TarImages, ReadsShards) {
  fs::create_directories(root / "shards");
  write_archive(root / "shards/00001.tar", {{"0.png", png(3)}, {"0.cls", "1"}}, "none");
  write_archive(root / "shards/00000.tar",
                {{"0.png", png(1)}, {"0.cls", "0"}, {"1.png", png(2)}, {"1.cls", "5"}}, "none");
  const auto data = load_dataset(root / "shards", 8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{0, 5, 1}));
  EXPECT_EQ(data.names[2], "00001.tar/0.png");
}

TEST_F(TarImages, RefusesTextThatDoesntFit) {
  write_archive(root / "some.tar", {{"a.png", png(1)}, {"a.cls", "1"}, {"b.png", png(1)}}, "none");
  EXPECT_NE(message_of(root / "some.tar").find("none for b.png"), std::string::npos);
  write_archive(root / "odd.tar", {{"a.png", png(1)}, {"a.cls", "cat"}}, "none");
  EXPECT_NE(message_of(root / "odd.tar").find("a.cls: got 'cat'"), std::string::npos);
}

TEST_F(TarImages, IgnoresTextThatStandsBesideNone) {
  const std::vector<Entry> entries = {
      {"cat/a.png", png(1)},      {"dog/b.png", png(2)},
      {"README.txt", "about"},    {"cat/a/b.txt", "elsewhere"},
      {"notes.cls", "no number"}, {"info.json", R"({"text": "about", "label": -3})"}};
  write_archive(root / "data.tar", entries, "none");
  const auto data = load_dataset(root / "data.tar", 8);
  EXPECT_EQ(labels(data), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_TRUE(data.captions.empty());
}

TEST_F(TarImages, ReadsTextThatComesBeforeItsImage) {
  write_archive(root / "data.tar", {{"a.txt", "an ant"}, {"a.cls", "3"}, {"a.png", png(1)}},
                "none");
  const auto data = load_dataset(root / "data.tar", 8);
  EXPECT_EQ(labels(data), std::vector<int64_t>{3});
  EXPECT_EQ(data.captions, std::vector<std::string>{"an ant"});
}

TEST_F(TarImages, ReadsGzippedShards) {
  fs::create_directories(root / "shards");
  write_archive(root / "shards/0.tar.gz", {{"a.png", png(1)}}, "gzip");
  write_archive(root / "shards/1.tgz", {{"a.png", png(2)}}, "gzip");
  write("shards/._2.tar", "a resource fork");
  EXPECT_EQ(reds(load_dataset(root / "shards", 8)), (std::vector<int64_t>{1, 2}));
}

TEST_F(TarImages, RefusesShardsAmongImages) {
  write("data/cat/a.png", png(1));
  write_archive(root / "data/download.tgz", {{"c.png", png(3)}}, "gzip");
  EXPECT_EQ(reds(load_dataset(root / "data", 8)), std::vector<int64_t>{1});
  write_archive(root / "data/stray.tar", {{"b.png", png(2)}}, "none");
  const std::string message = message_of(root / "data");
  EXPECT_NE(message.find("got images ('cat/a.png') and archives ('stray.tar')"), std::string::npos)
      << message;
}

}  // namespace
}  // namespace tiller::test
