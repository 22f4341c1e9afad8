#pragma once
#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>

namespace c10d {
class Store;
}

namespace tiller {

/// A process's place among those that a launcher started together.
struct Launch {
  int rank = 0, world = 1;
  int local_rank = 0;  ///< On this machine.
  std::string host;    ///< Where the processes meet; empty with one alone.
  int port = 0;
  bool hosted = false;  ///< The launcher itself keeps the meeting place (torchrun's agent).
};

/// From the variables that torchrun (RANK, WORLD_SIZE, MASTER_ADDR, ...), srun (SLURM_PROCID, ...),
/// Open MPI's mpirun or MPICH's leave. Throws UsageError where they say too little or contradict
/// each other.
Launch launch_from_environment();

/// What the processes of a run tell each other, through LibTorch's c10d store.
class Processes {
 public:
  /// Waits for the others, up to five minutes. Throws Error when they don't come. patience: a
  /// process that hasn't been heard from for so long is lost.
  explicit Processes(const Launch&, std::chrono::milliseconds patience = std::chrono::minutes(1));
  /// Tells the others whether this process is done or, while an exception is thrown, gives up.
  ~Processes();

  const Launch& launch() const { return launch_; }
  bool first() const { return launch_.rank == 0; }
  /// Says that this process has done `work`.
  void done(const std::string& work);
  /// Waits until all processes have. Throws Error when the others can't be reached, one has given
  /// up or is lost.
  void wait_for_all(const std::string& work);
  /// Both: says so, and waits for the others.
  void meet(const std::string& work);
  /// Deals out `work` in pieces: 0, 1, 2, ..., each to one process.
  int64_t take(const std::string& work);
  /// Where c10d's process groups meet; null with one process.
  c10::intrusive_ptr<c10d::Store> store() const;

 private:
  struct Store;
  void require_alive();
  int64_t add(const std::string& work);
  Launch launch_;
  std::unique_ptr<Store> store_;          ///< Null with one process.
  std::map<std::string, int64_t> taken_;  ///< Pieces of work, with one process.
};

}  // namespace tiller
