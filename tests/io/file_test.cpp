#include "io/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "io/error.h"
#include "io/hash.h"

namespace tiller {
namespace {

class Files : public testing::Test {
 protected:
  fs::path folder = fs::path(testing::TempDir()) / ("files" + std::to_string(::getpid()));
  fs::path path = folder / "deep" / "note.txt";
  void TearDown() override { fs::remove_all(folder); }

  std::vector<fs::path> entries() const {
    return {fs::directory_iterator(path.parent_path()), fs::directory_iterator()};
  }
};

TEST_F(Files, AreWrittenWholeWithTheirFolder) {
  write_file(path, "first");
  write_file(path, std::string("second\0with zero", 16));
  EXPECT_EQ(read_file(path), std::string("second\0with zero", 16));
  EXPECT_EQ(entries(), std::vector<fs::path>{path});
}

TEST_F(Files, StayAsTheyAreWhenAWriterFails) {
  write_file(path, "old");
  const auto fails = [&](const fs::path& temporary) {
    EXPECT_NE(temporary, path);
    EXPECT_EQ(temporary.extension(), path.extension());
    std::ofstream(temporary) << "half of the n";
    throw std::runtime_error("no more");
  };
  EXPECT_THROW(write_atomically(path, fails), std::runtime_error);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), std::vector<fs::path>{path});
}

TEST_F(Files, DevicesAreWrittenToAndStay) {
  fs::create_directories(folder);
  fs::create_symlink("/dev/null", folder / "null");
  fs::create_symlink("/dev/full", folder / "full");
  write_file(folder / "null", "x");
  EXPECT_THROW(write_file(folder / "full", "x"), Error);
  for (const char* name : {"null", "full"})
    EXPECT_TRUE(fs::is_character_file(folder / name)) << name;
}

TEST_F(Files, AreRefusedByName) {
  const auto refused = [&](const std::function<void()>& act, const fs::path& name) {
    try {
      act();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(name.string()), std::string::npos) << error.what();
    }
  };
  write_file(path, "123456");
  refused([&] { read_file(folder / "missing"); }, folder / "missing");
  refused([&] { read_file(folder); }, folder);
  refused([&] { read_file("/dev/null"); }, "/dev/null");
  refused([&] { read_file(path, 5); }, path);
  refused([&] { write_file(folder, "x"); }, folder);
  refused([&] { write_file(path / "below a file", "x"); }, path);
  EXPECT_EQ(read_file(path, 6), "123456");
}

TEST_F(Files, MayBeEmpty) {
  write_file(path, "");
  EXPECT_EQ(read_file(path), "");
  EXPECT_TRUE(MappedFile(path).bytes().empty());
}

/// The examples of FIPS 180-4.
TEST_F(Files, HaveTheHashOfTheStandard) {
  write_file(path, "abc");
  EXPECT_EQ(sha256_hex(path), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  write_file(path, "");
  EXPECT_EQ(sha256_hex(path), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  write_file(path, std::string(1000000, 'a'));
  EXPECT_EQ(sha256_hex(path), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace tiller
