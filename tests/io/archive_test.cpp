#include "io/archive.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "io/error.h"

namespace tiller::test {
namespace {

/// Nobody writes to the pipe: opening it would wait for ever.
TEST(ArchiveReader, RefusesPipesAndFolders) {
  const fs::path folder = fs::path(::testing::TempDir()) / "archive_test";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const fs::path pipe = folder / "pipe.tar";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const fs::path& path : {pipe, folder})
    for (const auto format : {ArchiveReader::Format::tar, ArchiveReader::Format::zip})
      EXPECT_THROW(ArchiveReader(path, format), Error) << path;
  EXPECT_THROW(ArchiveReader(folder / "none.tar", ArchiveReader::Format::tar), Error);
}

}  // namespace
}  // namespace tiller::test
