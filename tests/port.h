#pragma once
#include <unistd.h>

namespace tiller::test {

/// For processes that meet; offset: apart for the meetings of one test program. Ports are below
/// those that Linux gives to connections, 32768 and up: one in use there leaves the second process
/// waiting for ever.
inline int meeting_port(int offset) { return 12000 + (getpid() * 7 + offset) % 20000; }

}  // namespace tiller::test
