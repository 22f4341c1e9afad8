#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <iostream>
#include <string>

/// Every test process has a temporary folder of its own, gone when it ends: CTest runs the cases of
/// one program side by side, and files of one name would meet.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::string folder = (std::filesystem::temp_directory_path() / "tiller-test-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    std::cerr << folder << ": can't be made.\n";
    return 1;
  }
  setenv("TMPDIR", folder.c_str(), 1);
  setenv("TEST_TMPDIR", folder.c_str(), 1);
  // On a GPU convolutions in float32 multiply in TF32 by default, three digits: tests ask for
  // seven.
  setenv("NVIDIA_TF32_OVERRIDE", "0", 1);
  // LibTorch 2.11's Gloo groups write to one record of a process, unguarded; tests' ranks are
  // threads of one process, and crashed in it now and then.
  setenv("TORCH_FR_BUFFER_SIZE", "0", 1);
  const int failed = RUN_ALL_TESTS();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return failed;
}
