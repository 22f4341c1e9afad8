#include "io/processes.h"

#include <c10/util/Logging.h>

#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "io/error.h"

namespace tiller {
namespace {

using namespace std::chrono_literals;

constexpr auto meeting_time = 5min;
constexpr auto glance = 200ms;
constexpr int usual_port = 29500, ports = 1000;
constexpr int only_errors = 2;
/// What is added to a process's pulse at its end.
constexpr int64_t finished = int64_t{1} << 40, gave_up = -finished;

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
const Launcher launchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", ""},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "PMIX_NAMESPACE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "PMI_JOBID"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_JOB_ID"}};

/// The first of "gpu[07-12,20],login1": "gpu07".
std::string first_host(const std::string& list) {
  const size_t bracket = list.find('['), end = list.find_first_of(",[");
  if (bracket == list.npos || end < bracket) return list.substr(0, list.find(','));
  const std::string inside = list.substr(bracket + 1);
  return list.substr(0, bracket) + inside.substr(0, inside.find_first_of(",-]"));
}

std::string meeting_host() {
  if (const auto host = variable("MASTER_ADDR"); !host.empty()) return host;
  if (const auto nodes = variable("SLURM_STEP_NODELIST"); !nodes.empty()) return first_host(nodes);
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

namespace {

/// Keys of a restart under torchrun don't meet those of before.
std::string key_of(const std::string& work) {
  return "tiller/" + variable("TORCHELASTIC_RESTART_COUNT") + "/" + work;
}

std::string pulse_key(int rank) { return key_of("pulse/" + std::to_string(rank)); }

using Clock = std::chrono::steady_clock;

}  // namespace

struct Processes::Store {
  /// When another process was last heard from.
  struct Heard {
    int64_t pulse = 0;
    Clock::time_point when = Clock::now();
  };

  c10::intrusive_ptr<c10d::TCPStore> tcp;
  std::chrono::milliseconds patience;
  std::vector<Heard> heard;  ///< One a rank.
  std::jthread pulse = {};   ///< Tells the others that this process is alive.

  int64_t add(const std::string& key, int64_t more) { return tcp->add(key, more); }
};

namespace {

/// Until it is asked to stop, or the store is gone: this process's next call says so.
void beat(const std::stop_token& stop, const c10::intrusive_ptr<c10d::TCPStore>& store, int rank,
          std::chrono::milliseconds pause) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  try {
    while (!stop.stop_requested()) {
      store->add(pulse_key(rank), 1);
      never.wait_for(lock, stop, pause, [] { return false; });
    }
  } catch (const std::exception&) {
  }
}

}  // namespace

Processes::Processes(const Launch& launch, std::chrono::milliseconds patience) : launch_(launch) {
  if (launch.world == 1) return;
  FLAGS_caffe2_log_level = only_errors;  // what c10d warns of is told in one line here
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.hosted;
  options.numWorkers = static_cast<size_t>(launch.world);
  options.waitWorkers = !launch.hosted;
  options.timeout = meeting_time;
  try {
    const auto tcp = c10::make_intrusive<c10d::TCPStore>(launch.host, options);
    store_ = std::make_unique<Store>(
        Store{tcp, patience, std::vector<Store::Heard>(size_t(launch.world))});
    store_->pulse = std::jthread(beat, tcp, launch.rank, patience / 10);
  } catch (const std::exception& error) {
    throw Error("launch: the " + std::to_string(launch.world) + " processes didn't meet at " +
                launch.host + ":" + std::to_string(launch.port) +
                ". Is MASTER_ADDR set to the first machine?");
  }
}

Processes::~Processes() {
  if (!store_) return;
  store_->pulse = {};
  try {
    store_->add(pulse_key(launch_.rank), std::uncaught_exceptions() ? gave_up : finished);
  } catch (const std::exception&) {
    // Nobody is left to be told.
  }
}

/// Throws Error naming a process that won't do its work.
void Processes::require_alive() {
  for (int rank = 0; rank < launch_.world; ++rank) {
    Store::Heard& heard = store_->heard[size_t(rank)];
    const int64_t pulse = store_->add(pulse_key(rank), 0);
    if (pulse >= finished) continue;
    const std::string who = "launch: process " + std::to_string(rank);
    if (pulse < 0)
      throw Error(who + " failed; it says why. Start all again: what has been saved is kept.");
    if (pulse != heard.pulse) heard = {pulse};
    const auto silence = Clock::now() - heard.when;
    if (silence < (pulse ? store_->patience : meeting_time)) continue;
    throw Error(who + " hasn't been heard from for " +
                std::to_string(std::chrono::duration_cast<std::chrono::seconds>(silence).count()) +
                " s. Start all again: what has been saved is kept.");
  }
}

c10::intrusive_ptr<c10d::Store> Processes::store() const {
  if (!store_) return {};
  return c10::make_intrusive<c10d::PrefixStore>(key_of("group"), store_->tcp);
}

int64_t Processes::add(const std::string& work) {
  try {
    return store_->add(key_of(work), 1);
  } catch (const std::exception&) {
    throw Error("launch: the first process can't be reached, expected it to be at " + launch_.host +
                ":" + std::to_string(launch_.port) + ".");
  }
}

void Processes::done(const std::string& work) {
  if (store_) add(work);
}

int64_t Processes::take(const std::string& work) { return store_ ? add(work) - 1 : taken_[work]++; }

void Processes::wait_for_all(const std::string& work) {
  if (!store_) return;
  try {
    while (store_->add(key_of(work), 0) < launch_.world) {
      require_alive();
      std::this_thread::sleep_for(glance);
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception&) {
    throw Error("launch: other processes can't be reached at " + launch_.host + ":" +
                std::to_string(launch_.port) + ".");
  }
}

void Processes::meet(const std::string& work) {
  done(work);
  wait_for_all(work);
}

}  // namespace tiller
