#include "training/data_cache.h"

#include <ATen/ATen.h>
#include <sys/wait.h>

#include "tests/training/dataset_files.h"
#include "training/batches.h"

namespace tiller::test {
namespace {

class DataCache : public DatasetFiles {
 protected:
  DataCache() {
    for (int i = 0; i < 9; ++i)
      write((i % 2 ? "data/odd/" : "data/even/") + std::to_string(i) + ".png", png(10 * i));
    write("data/odd/z.png", "no image");
  }
  Dataset cached() const { return cached_dataset(root / "data", 8, root / "cache"); }

  void expect_as_in_memory(const Dataset& data) const {
    const Dataset held = load_dataset(root / "data", 8);
    EXPECT_TRUE(data.images.equal(held.images));
    EXPECT_TRUE(data.labels.equal(held.labels));
    EXPECT_EQ(data.names, held.names);
    EXPECT_EQ(data.class_names, held.class_names);
    EXPECT_EQ(data.skipped, held.skipped);
    EXPECT_EQ(data.captions, held.captions);
  }

  fs::path found(const std::string& ending) const {
    for (const auto& entry : fs::directory_iterator(root / "cache"))
      if (entry.path().extension() == ending) return entry.path();
    return {};
  }
};

TEST_F(DataCache, HoldsWhatMemoryWould) {
  const Dataset first = cached();
  EXPECT_TRUE(first.mapped);
  expect_as_in_memory(first);
  expect_as_in_memory(cached());
  EXPECT_EQ(fs::file_size(found(".images")), 9 * 3 * 8 * 8);
}

TEST_F(DataCache, IsReadRatherThanDecodedAgain) {
  Dataset first = cached();
  first.images.fill_(77);
  EXPECT_EQ(reds(cached()), std::vector<int64_t>(9, 77));
}

TEST_F(DataCache, FollowsTheData) {
  cached();
  write("data/odd/z.png", png(200));
  expect_as_in_memory(cached());
  fs::remove(root / "data/even/0.png");
  expect_as_in_memory(cached());
}

TEST_F(DataCache, FollowsLinksToFolders) {
  for (const char* name : {"even", "odd"}) {
    fs::create_directories(root / "linked" / name);
    fs::create_directory_symlink(root / "data" / name, root / "linked" / name / "class");
  }
  const auto linked = [&](const char* name) {
    return cached_dataset(root / "linked" / name, 8, root / "cache");
  };
  EXPECT_EQ(linked("even").images.size(0), 5);
  EXPECT_EQ(linked("odd").images.size(0), 4);
  write("data/odd/z.png", png(200));
  EXPECT_EQ(linked("odd").images.size(0), 5);
}

TEST_F(DataCache, IsDecodedAgainWhereAProcessWasKilled) {
  cached();
  fs::remove(found(".cbor"));
  fs::resize_file(found(".images"), 5);
  expect_as_in_memory(cached());
}

TEST_F(DataCache, HoldsCaptionsAndOtherFormats) {
  for (int i = 0; i < 9; ++i)
    write((i % 2 ? "data/odd/" : "data/even/") + std::to_string(i) + ".txt",
          "image " + std::to_string(i));
  cached();
  expect_as_in_memory(cached());
  std::string records;
  for (int i = 0; i < 4; ++i) records += std::string(1, char(i)) + std::string(3072, char(20 * i));
  const auto file = write("cifar/data_batch_1.bin", records);
  for (int i = 0; i < 2; ++i)
    for (const int64_t size : {32, 8})
      EXPECT_TRUE(cached_dataset(file.parent_path(), size, root / "cache")
                      .images.equal(load_dataset(file.parent_path(), size).images));
}

TEST_F(DataCache, SeveralProcessesDecodeOnce) {
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto values = reds(cached());
      ::_exit(values == reds(load_dataset(root / "data", 8)) ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(DataCache, RefusesADamagedCacheAndAFullFolder) {
  cached();
  write("cache/" + found(".cbor").filename().string(), "nothing");
  EXPECT_THROW(cached(), Error);
  cached_dataset(root / "data/odd", 8, root / "other");
  fs::resize_file(found(".images"), 5);
  EXPECT_THROW(cached(), Error);
  write("file", "");
  EXPECT_THROW(cached_dataset(root / "data", 8, root / "file"), Error);
}

/// Whatever is asked for, in order or not, in parts or not.
TEST_F(DataCache, BatchesAreTheSame) {
  const Dataset mapped = cached(), held = load_dataset(root / "data", 8);
  TrainOptions options;
  options.batch = 5;
  options.microbatch = 2;
  Batches ahead(mapped, options), plain(held, options);
  const auto expect_same = [&](int64_t step, const BatchPart& part) {
    const TrainBatch a = ahead.at(step, part), b = plain.at(step, part);
    EXPECT_TRUE(a.images.equal(b.images)) << step << " " << part.first;
    EXPECT_TRUE(a.labels.equal(b.labels));
  };
  for (int64_t step = 0; step < 4; ++step)
    for (const BatchPart& part : parts_of(options)) expect_same(step, part);
  expect_same(9, {2, 2});
  expect_same(1, {0, 5});
}

}  // namespace
}  // namespace tiller::test
