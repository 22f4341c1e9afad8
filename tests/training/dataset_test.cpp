#include "dataset_files.h"

#include <ATen/Parallel.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cmath>
#include <numeric>

#include "io/numpy_file.h"
#include "io/physical_memory.h"
#include "training/dataset_formats.h"
#include "training/training_data.h"

namespace tiller::test {
namespace {

class Cifar : public DatasetFiles {};

/// A record whose image has the same red, green and blue everywhere but in the last column.
std::string record(int label, uint8_t red, uint8_t green, uint8_t blue) {
  std::string bytes(1, static_cast<char>(label));
  for (const uint8_t value : {red, green, blue})
    for (int i = 0; i < 1024; ++i) bytes += static_cast<char>(i % 32 == 31 ? 255 : value);
  return bytes;
}

constexpr auto kNames = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

TEST_F(Cifar, ReadsTheTrainingFilesInOrder) {
  write("data_batch_2.bin", record(9, 30, 31, 32));
  write("data_batch_1.bin", record(3, 10, 11, 12) + record(0, 20, 21, 22));
  write("test_batch.bin", record(1, 99, 99, 99));
  write("batches.meta.txt", kNames);
  const auto data = load_dataset(root, 32);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{10, 20, 30}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{3, 0, 9}));
  ASSERT_EQ(data.class_names.size(), 10u);
  EXPECT_EQ(data.class_names[9], "truck");
  const auto expected = plain(20, 21, 22, 32);
  expected.select(2, 31).fill_(255);
  EXPECT_TRUE(at::equal(data.images[1], expected));
}

TEST_F(Cifar, ReadsOneFileAtAnotherSize) {
  const auto file = write("test_batch.bin", record(3, 10, 11, 12) + record(0, 20, 21, 22));
  const auto data = load_dataset(file, 16);
  EXPECT_EQ(data.images.sizes(), (at::IntArrayRef{2, 3, 16, 16}));
  EXPECT_EQ(reds(data), (std::vector<int64_t>{10, 20}));
  EXPECT_TRUE(data.class_names.empty());
}

TEST_F(Cifar, RefusesWhatIsDamaged) {
  const auto file = write("data_batch_1.bin", record(3, 1, 2, 3) + record(10, 1, 2, 3));
  EXPECT_NE(message_of(root).find("image 1 has label 10"), std::string::npos);
  write("data_batch_1.bin", record(3, 1, 2, 3) + "x");
  EXPECT_NE(message_of(file).find("got 3074 bytes"), std::string::npos);
  write("data_batch_1.bin", "");
  EXPECT_NE(message_of(root).find("got 0 bytes"), std::string::npos);
  write("data_batch_1.bin", record(3, 1, 2, 3));
  write("batches.meta.txt", "cat\ndog\n");
  EXPECT_NE(message_of(root).find("got 2 class names, expected 10"), std::string::npos);
}

class Idx : public DatasetFiles {};

std::string header(uint32_t magic, std::initializer_list<uint32_t> sizes) {
  std::string bytes;
  const auto add = [&](uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  };
  add(magic);
  for (const auto size : sizes) add(size);
  return bytes;
}

std::string idx_images(const std::vector<int>& greys, uint32_t side = 8) {
  auto bytes = header(0x803, {static_cast<uint32_t>(greys.size()), side, side});
  for (const int grey : greys) bytes += std::string(side * side, static_cast<char>(grey));
  return bytes;
}

std::string idx_labels(const std::string& labels) {
  return header(0x801, {static_cast<uint32_t>(labels.size())}) + labels;
}

TEST_F(Idx, ReadsAFolder) {
  write("train-images-idx3-ubyte", idx_images({10, 250}));
  write("train-labels-idx1-ubyte", idx_labels({2, 0}));
  write("t10k-images-idx3-ubyte", idx_images({1}));
  const auto data = load_dataset(root, 8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{10, 250}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{2, 0}));
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_TRUE(at::equal(data.images[1], plain(250, 250, 250)));
}

TEST_F(Idx, ReadsGzippedFilesAsPlainOnes) {
  write_archive(root / "train-images.idx3-ubyte.gz", {{"x", idx_images({7, 8, 9}, 28)}}, "gzip",
                true);
  write_archive(root / "train-labels.idx1-ubyte.gz", {{"x", idx_labels({1, 1, 0})}}, "gzip", true);
  const auto file = write("other.data", idx_images({7, 8, 9}, 28));
  const auto folder = load_dataset(root, 28);
  const auto alone = load_dataset(file, 28);
  EXPECT_TRUE(at::equal(folder.images, alone.images));
  EXPECT_EQ(reds(folder), (std::vector<int64_t>{7, 8, 9}));
  EXPECT_EQ(labels(folder), (std::vector<int64_t>{1, 1, 0}));
  EXPECT_FALSE(alone.labels.defined());
  EXPECT_EQ(load_dataset(root, 32).images.sizes(), (at::IntArrayRef{3, 3, 32, 32}));
}

TEST_F(Idx, RefusesWhatIsDamaged) {
  const auto says = [&](const std::string& images, const std::string& expected) {
    write("train-images-idx3-ubyte", images);
    const auto message = message_of(root);
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  };
  const auto whole = idx_images({1, 2});
  says(header(0x802, {2, 8, 8}), "magic number 0x00000802");
  says(whole.substr(0, 9), "got 9 bytes");
  says("", "train-images-idx3-ubyte");
  says(whole.substr(0, whole.size() - 1), "ends after 127 values, expected 128");
  says(whole + "x", "goes on after the 128 values");
  says(header(0x803, {0, 8, 8}), "got 0 images");
  says(header(0x803, {1, 8, 5000}), "of 8x5000");
  says(header(0x803, {0xffffffff, 4096, 4096}),
       "got 16 bytes, too few for 4294967295 images of 4096x4096");
}

TEST_F(Idx, RefusesLabelsThatDoNotFit) {
  write("train-images-idx3-ubyte", idx_images({1, 2}));
  const auto says = [&](const std::string& labels, const std::string& expected) {
    write("train-labels-idx1-ubyte", labels);
    const auto message = message_of(root);
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  };
  says(idx_labels({1, 2, 3}), "got 3 labels, expected 2");
  says(idx_labels({1, 2}).substr(0, 9), "ends after 1 values");
  says(idx_images({1, 2}), "magic number 0x00000803");
}

TEST_F(Idx, WantsOneSetOfImages) {
  write("a-train-images-idx3-ubyte", idx_images({1}));
  write("b-train-images-idx3-ubyte", idx_images({2}));
  EXPECT_NE(message_of(root).find("got 2 sets of images"), std::string::npos);
  EXPECT_EQ(reds(load_dataset(root / "b-train-images-idx3-ubyte", 8)), (std::vector<int64_t>{2}));
}

class ImageFolder : public DatasetFiles {};

TEST_F(ImageFolder, TakesSubfoldersAsClasses) {
  write("frog/b.png", png(2));
  write("frog/a.PNG", png(1));
  write("cat/z.png", png(3, 4, 5));
  write("cat/notes.txt", "not an image");
  write("cat/.hidden.png", "not an image either");
  write("empty/readme", "");
  const auto data = load_dataset(root, 8);
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"cat", "frog"}));
  EXPECT_EQ(reds(data), (std::vector<int64_t>{3, 1, 2}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{0, 1, 1}));
  EXPECT_TRUE(at::equal(data.images[0], plain(3, 4, 5)));
  EXPECT_TRUE(data.skipped.empty());
  EXPECT_EQ(data.empty, std::vector<std::string>{"empty"});
}

TEST_F(ImageFolder, HasNoLabelsWithoutSubfolders) {
  for (int i = 0; i < 20; ++i) write("image" + std::to_string(10 + i) + ".png", png(i));
  const auto data = load_dataset(root, 4);
  EXPECT_FALSE(data.labels.defined());
  EXPECT_TRUE(data.class_names.empty());
  std::vector<int64_t> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(reds(data), expected);
}

TEST_F(ImageFolder, NamesAndSkipsWhatCannotBeDecoded) {
  write("cat/a.png", png(1));
  write("cat/b.png", png(2).substr(0, 40));
  write("cat/c.webp", "RIFF");
  write("dog/d.png", png(4));
  write("dog/e.png", "");
  write("dog/f.png", png(6));
  const auto data = load_dataset(root, 8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{1, 4, 6}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{0, 1, 1}));
  ASSERT_EQ(data.skipped.size(), 3u);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_NE(data.skipped[i].find(std::vector{"b.png", "c.webp", "e.png"}[i]), std::string::npos)
        << data.skipped[i];
}

TEST_F(ImageFolder, RefusesWhatHasNothingUsable) {
  EXPECT_NE(message_of(root).find("folder without data"), std::string::npos);
  write("cifar/data_batch_1.bin", "");
  EXPECT_NE(message_of(root).find("Did you mean '" + (root / "cifar").string()), std::string::npos);
  write("a.png", "damaged");
  EXPECT_NE(message_of(root).find("none of its 1 images"), std::string::npos);
  write("cat/b.png", png(1));
  EXPECT_NE(message_of(root).find("1 of 2 images outside class folders ('a.png')"),
            std::string::npos);
}

TEST_F(ImageFolder, FollowsLinksOnce) {
  write("data/cat/a.png", png(1));
  write("elsewhere/b.png", png(2));
  fs::create_directory_symlink(root / "elsewhere", root / "data/dog");
  fs::create_directory_symlink(root / "data", root / "data/cat/loop");
  const auto data = load_dataset(root / "data", 8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"cat", "dog"}));
}

class NpzImages : public DatasetFiles {};

TEST_F(NpzImages, AreGuidedDiffusions) {
  const Tensor images = at::stack({plain(1, 2, 3), plain(4, 5, 6)}).permute({0, 2, 3, 1});
  save_npz(root / "data.npz", {{"arr_0", images.contiguous()}, {"arr_1", at::tensor({3, 1})}});
  const auto data = load_dataset(root / "data.npz", 8);
  EXPECT_EQ(reds(data), (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(labels(data), (std::vector<int64_t>{3, 1}));
  save_npz(root / "bad.npz", {{"arr_0", images.contiguous()}, {"arr_1", at::tensor({3})}});
  EXPECT_NE(message_of(root / "bad.npz").find("got 1 labels, expected 2"), std::string::npos);
  save_npz(root / "none.npz", {{"arr_0", at::zeros({4, 0, 0, 3}, at::kByte)}});
  EXPECT_NE(message_of(root / "none.npz").find("expected uint8 of"), std::string::npos);
  save_npz(root / "flat.npz", {{"arr_0", images.to(at::kFloat)}});
  EXPECT_NE(message_of(root / "flat.npz").find("expected uint8"), std::string::npos);
  save_npz(root / "none.npz", {{"mu", at::zeros({4})}});
  EXPECT_NE(message_of(root / "none.npz").find("got no arr_0"), std::string::npos);
}

/// Counting them would take 80 GB.
TEST_F(NpzImages, HaveNoMoreThanAMillionClassesToTrainOn) {
  const Tensor images = plain(1, 2, 3).permute({1, 2, 0}).unsqueeze(0);
  TrainOptions options;
  options.data = root / "data.npz";
  const auto trained_on = [&](int64_t label) {
    save_npz(options.data, {{"arr_0", images.contiguous()}, {"arr_1", at::tensor({label})}});
    return load_training_data(options, 8);
  };
  EXPECT_EQ(labels(trained_on(999'999)), std::vector<int64_t>{999'999});
  try {
    trained_on(10'000'000'000);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("data.npz: got the label 10000000000"),
              std::string::npos)
        << error.what();
  }
}

class LoadDataset : public DatasetFiles {};

/// Of one colour, compressed by runs, in a TGA file.
std::string long_runs(int64_t width, int64_t height) {
  const auto byte = [](int64_t value) { return std::string(1, char(value)); };
  std::string bytes = {0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (const int64_t side : {width, height}) bytes += byte(side & 255) + byte(side >> 8);
  bytes += byte(24) + byte(0);
  for (int64_t left = width * height; left > 0; left -= 128)
    bytes += byte(127 + std::min<int64_t>(left, 128)) + byte(9) + byte(9) + byte(9);
  return bytes;
}

/// Bytes of addresses that this process uses.
rlim_t used_addresses() {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * rlim_t(::sysconf(_SC_PAGESIZE));
}

TEST_F(LoadDataset, NamesWhatMemoryCantHold) {
  write("a.png", png(1));
  write("huge.tga", long_runs(8192, 8192));
  const pid_t child = ::fork();
  if (!child) {
    at::set_num_threads(1);
    // Enough for the file's pixels, not for them and a tensor.
    const rlim_t most = used_addresses() + (rlim_t{300} << 20);
    const rlimit limit = {most, most};
    ::setrlimit(RLIMIT_AS, &limit);
    int code = 1;
    try {
      load_dataset(root, 8);
    } catch (const Error& error) {
      code = std::string(error.what()).starts_with("huge.tga: got an image too large") ? 0 : 2;
    }
    ::_exit(code);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(LoadDataset, NamesWhatIsLeftOutAndEmptyClasses) {
  write("cat/a.png", png(3));
  write("dog/broken.png", "no image");
  fs::create_directories(root / "owl");
  const auto lines = complaints_of(load_dataset(root, 8));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(lines[0].find("dog/broken.png"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("folder 'owl' has no image"), std::string::npos) << lines[1];
  EXPECT_EQ(lines[2], "class 'dog' has no image");
}

TEST_F(LoadDataset, RefusesWhatIsUnknown) {
  EXPECT_NE(message_of(root / "nowhere").find("no such file"), std::string::npos);
  EXPECT_NE(message_of(write("image.png", png(1))).find("unknown kind"), std::string::npos);
  EXPECT_NE(message_of(write("empty", "")).find("unknown kind"), std::string::npos);
  EXPECT_NE(message_of(root, 0).find("size: got 0"), std::string::npos);
}

TEST(AllocateBytes, RefusesMoreThanMemoryHolds) {
  try {
    allocate_bytes("photos.tar", {1'000'000'000, 3, 4096, 4096});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("photos.tar: 1000000000 images of 4096x4096 take"),
              std::string::npos)
        << error.what();
  }
}

/// Each process decodes all.
TEST(AllocateBytes, DividesMemoryAmongAMachinesProcesses) {
  const auto side = int64_t(std::sqrt(0.4 * physical_memory() / 3));
  const std::vector<int64_t> shape = {1, 3, side, side};
  ::setenv("LOCAL_WORLD_SIZE", "2", 1);
  try {
    allocate_bytes("photos", shape);
    ADD_FAILURE();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("half of this machine's memory for its 2 processes"), std::string::npos)
        << message;
    EXPECT_NE(message.find("--data-cache"), std::string::npos) << message;
  }
  ::unsetenv("LOCAL_WORLD_SIZE");
}

TEST(ForEachInParallel, VisitsEachOnceAndPassesFailuresOn) {
  std::vector<std::atomic<int>> visits(1000);
  for_each_in_parallel(1000, [&](int64_t i) { ++visits[i]; });
  for (const auto& count : visits) EXPECT_EQ(count, 1);
  EXPECT_THROW(for_each_in_parallel(9,
                                    [](int64_t i) {
                                      if (i == 5) throw Error("five");
                                    }),
               Error);
  for_each_in_parallel(0, [](int64_t) { FAIL(); });
}

}  // namespace
}  // namespace tiller::test
