#include "io/nccl.h"

#include <c10/util/Logging.h>
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <future>
#include <set>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "io/error.h"
#include "io/process_group.h"

namespace tiller {
namespace {

using namespace std::chrono_literals;

/// Everybody is there when a sum begins, so what is waited for is one pass's computation.
constexpr auto longest_sum = 10min;
constexpr auto longest_end = 1min;
constexpr int only_fatal = 3;

bool switched_off() {
  const char* value = std::getenv("TILLER_NCCL");
  const std::string text = value ? value : "";
  if (!text.empty() && text != "off")
    throw UsageError("launch: got TILLER_NCCL='" + printable(text) + "', expected off.");
  return text == "off";
}

/// What models/device.cpp loaded; null without a GPU or without NCCL.
const Nccl* nccl_library() {
  void* found = dlsym(RTLD_DEFAULT, "tiller_nccl");
  return found ? reinterpret_cast<const Nccl* (*)()>(found)() : nullptr;
}

/// The same in all containers of a machine.
std::string machine() {
  std::string name;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> name;
  if (!name.empty()) return name;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  return host;
}

}  // namespace

std::string nccl_gpu(at::Device device) {
  const bool off = switched_off();
  const Nccl* nccl = nccl_library();
  if (off || !nccl || !device.is_cuda()) return "";
  return machine() + " " + nccl->place(device);
}

bool each_has_its_own(ProcessGroup& group, const std::string& gpu) {
  const Tensor name = at::empty({int64_t(gpu.size())}, at::kByte);
  std::copy(gpu.begin(), gpu.end(), static_cast<char*>(name.mutable_data_ptr()));
  std::set<std::string> taken = {""};
  for (const auto& told : group.gather({name})) {
    const auto* text = static_cast<const char*>(told[0].const_data_ptr());
    if (!taken.emplace(text, text + told[0].numel()).second) return false;
  }
  return true;
}

c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int world) {
  FLAGS_caffe2_log_level = only_fatal;  // a lost process is told in one line here
  return nccl_library()->backend(c10::make_intrusive<c10d::PrefixStore>("nccl", store), rank, world,
                                 longest_sum);
}

// NCCL's own end can hang when another process is gone: then it is left to the process's end.
void abandon_nccl(c10::intrusive_ptr<c10d::Backend> nccl) {
  std::promise<void> ended;
  const auto end = ended.get_future();
  std::thread([nccl = std::move(nccl), ended = std::move(ended)]() mutable {
    try {
      nccl->abort();
    } catch (const std::exception&) {
    }
    nccl.reset();
    ended.set_value();
  }).detach();
  end.wait_for(longest_end);
}

}  // namespace tiller
