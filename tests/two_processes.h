#pragma once
#include <future>

#include "io/error.h"
#include "io/process_group.h"
#include "tests/port.h"

namespace tiller::test {

/// What `work`, which is given a Group, returns in each of two processes, here two threads;
/// nothing where this build can't connect processes.
template <class Group = ProcessGroup, class Work>
auto in_two_processes(const Work& work) {
  static int used = 0;
  const int port = meeting_port(101 * ++used);
  const auto as = [&, port](int rank) {
    const Processes processes({.rank = rank, .world = 2, .host = "127.0.0.1", .port = port});
    Group group(processes);
    return work(group);
  };
  auto second = std::async(std::launch::async, as, 1);
  std::vector<decltype(as(0))> results;
  try {
    results.push_back(as(0));
    results.push_back(second.get());
  } catch (const Error& error) {
    if (std::string(error.what()).find("can't connect them") == std::string::npos) throw;
    results.clear();
  }
  return results;
}

}  // namespace tiller::test
