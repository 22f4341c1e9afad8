#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include "io/control_group.h"
#include "io/file.h"

namespace tiller::test {

/// A folder in place of the one where control groups are mounted.
class ControlGroupFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() /
             ("tiller-" + std::to_string(getpid()) + "-" +
              testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder / name).parent_path());
    write_file(folder / name, text);
  }

  /// own: what the kernel says of the process's group.
  ControlGroups groups(const std::string& own) const {
    write("own", own);
    return {folder, folder / "own"};
  }

  std::filesystem::path folder;
};

}  // namespace tiller::test
