#pragma once
#include "tests/tools/program.h"

namespace tiller::test {

/// Runs `tiller ARGUMENTS` in the folder where no file can grow beyond `blocks` of 512 bytes, which
/// fails as a full disk does.
inline Result on_full_disk(const fs::path& folder, int blocks, const std::string& arguments) {
  const std::string error = (folder / ".full").string();
  const std::string command = "cd '" + folder.string() + "' && trap '' XFSZ && ulimit -f " +
                              std::to_string(blocks) + " && OMP_NUM_THREADS=1 '" + TILLER_PROGRAM +
                              "' " + arguments + " >/dev/null 2>'" + error + "'";
  const int status = std::system(command.c_str());
  Result result{WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), "", read_file(error)};
  fs::remove(error);
  return result;
}

}  // namespace tiller::test
