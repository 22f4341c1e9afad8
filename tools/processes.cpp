#include "tools/processes.h"

#include <charconv>
#include <cstdlib>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "io/error.h"

namespace tiller {
namespace {

using namespace std::chrono_literals;

constexpr auto meeting_time = 5min;
constexpr auto glance = 200ms;
constexpr int usual_port = 29500, ports = 1000;

std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? value : "";
}

int number(const std::string& name, int low, int high) {
  const std::string text = variable(name);
  int value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || value < low || value > high)
    throw UsageError("launch: got " + name + "='" + printable(text) + "', expected " +
                     std::to_string(low) + " to " + std::to_string(high) + ".");
  return value;
}

/// A launcher's names for what it says of a process.
struct Launcher {
  std::string rank, world, local_rank, job;
};
const Launcher launchers[] = {{"RANK", "WORLD_SIZE", "LOCAL_RANK", ""},
                              {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                               "OMPI_COMM_WORLD_LOCAL_RANK", "PMIX_NAMESPACE"},
                              {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "PMI_JOBID"},
                              {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_JOB_ID"}};

/// The first of "gpu[07-12,20],login1": "gpu07".
std::string first_host(const std::string& list) {
  const size_t bracket = list.find('['), end = list.find_first_of(",[");
  if (bracket == list.npos || end < bracket) return list.substr(0, list.find(','));
  const std::string inside = list.substr(bracket + 1);
  return list.substr(0, bracket) + inside.substr(0, inside.find_first_of(",-]"));
}

std::string meeting_host() {
  if (const auto host = variable("MASTER_ADDR"); !host.empty()) return host;
  if (const auto nodes = variable("SLURM_JOB_NODELIST"); !nodes.empty()) return first_host(nodes);
  return "127.0.0.1";
}

/// The same for all processes of a job, and another for the next job.
int meeting_port(const Launcher& launcher) {
  if (!variable("MASTER_PORT").empty()) return number("MASTER_PORT", 1, 65535);
  const std::string job = launcher.job.empty() ? "" : variable(launcher.job);
  unsigned sum = 0;
  for (const char c : job) sum = 31 * sum + static_cast<unsigned char>(c);
  return usual_port + int(sum % ports);
}

}  // namespace

Launch launch_from_environment() {
  for (const auto& launcher : launchers) {
    if (variable(launcher.world).empty() || variable(launcher.rank).empty()) continue;
    Launch launch;
    launch.world = number(launcher.world, 1, 1 << 20);
    launch.rank = number(launcher.rank, 0, launch.world - 1);
    if (!variable(launcher.local_rank).empty())
      launch.local_rank = number(launcher.local_rank, 0, 1 << 20);
    if (launch.world == 1) return launch;
    launch.host = meeting_host();
    launch.port = meeting_port(launcher);
    launch.hosted = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
    return launch;
  }
  return {};
}

struct Processes::Store {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
};

Processes::Processes(const Launch& launch) : launch_(launch) {
  if (launch.world == 1) return;
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.hosted;
  options.numWorkers = static_cast<size_t>(launch.world);
  options.waitWorkers = !launch.hosted;
  options.timeout = meeting_time;
  try {
    store_ =
        std::make_unique<Store>(Store{c10::make_intrusive<c10d::TCPStore>(launch.host, options)});
  } catch (const std::exception& error) {
    throw Error("launch: the " + std::to_string(launch.world) + " processes didn't meet at " +
                launch.host + ":" + std::to_string(launch.port) +
                ". Is MASTER_ADDR set to the first machine?");
  }
}

Processes::~Processes() = default;

namespace {

/// Keys of a restart under torchrun don't meet those of before.
std::string key_of(const std::string& work) {
  return "tiller/" + variable("TORCHELASTIC_RESTART_COUNT") + "/" + work;
}

}  // namespace

void Processes::done(const std::string& work) {
  if (!store_) return;
  try {
    store_->tcp->add(key_of(work), 1);
  } catch (const std::exception&) {
    throw Error("launch: the first process can't be reached, expected it to be at " + launch_.host +
                ":" + std::to_string(launch_.port) + ".");
  }
}

void Processes::wait_for_all(const std::string& work) {
  if (!store_) return;
  try {
    while (store_->tcp->add(key_of(work), 0) < launch_.world) std::this_thread::sleep_for(glance);
  } catch (const std::exception&) {
    throw Error("launch: other processes can't be reached at " + launch_.host + ":" +
                std::to_string(launch_.port) + ".");
  }
}

}  // namespace tiller
