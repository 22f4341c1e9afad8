#pragma once
#include "io/file.h"

namespace tiller {

/// A lock on a file, which is made where it isn't there: held by one process at a time, and given
/// up with it. Others wait. Throws Error where it can't be had.
class FileLock {
 public:
  explicit FileLock(const fs::path&);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace tiller
