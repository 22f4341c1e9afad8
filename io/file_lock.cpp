#include "io/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "io/error.h"

namespace tiller {

FileLock::FileLock(const fs::path& file)
    : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX) == 0) return;
  const int problem = errno;
  if (descriptor_ >= 0) ::close(descriptor_);
  throw Error(file.string() + ": can't be locked: " + std::strerror(problem) + ".");
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace tiller
