#pragma once
#include "io/process_group.h"
#include "tools/generation.h"

namespace tiller {

/// How the processes that a launcher started share a run of `generate`, and how they reach each
/// other.
struct Together {
  enum class Shares {
    nothing,
    branches,  ///< Of each evaluation of the network.
    batch,     ///< The images.
    steps      ///< Of a window of steps side by side.
  };
  Shares shares = Shares::nothing;
  std::unique_ptr<Processes> processes;
  std::unique_ptr<ProcessGroup> group = {};  ///< Null with one process, and before `connect`.

  int world() const { return processes->launch().world; }
  bool first() const { return processes->first(); }
};

/// What `--parallel TEXT` has processes share: branches or batch, else nothing. Throws UsageError.
Together::Shares shares_from(const std::string& text);

/// Waits for the other processes. parallel: the flag's text, or "". Throws UsageError, before that,
/// where there are several and neither it nor the request says what they are to share.
Together meet(const std::string& parallel, const GenerateRequest&);

/// Throws UsageError where several processes can't make what is asked for.
void check_together(const Together&, const Generation&);

/// Connects the processes once each has checked its part, and has evaluations shared where that is
/// asked for. Throws Error where another process gave up or was given another request.
void connect(Together&, Generation&);

/// A piece of `all` for this process, where images are shared: contiguous, the pieces in the order
/// of ranks. Else all.
std::vector<size_t> own_part(const Together&, const std::vector<size_t>& all);

/// What all processes have spent. Network evaluations count each, windows of steps once.
GuidanceCost total_cost(const Together&, GuidanceCost);

/// What --json says of it: method and processes. Null: nothing is shared.
Json together_json(const Together&);

/// Throws UsageError where a launcher started several processes for a command that runs in one.
void require_one_process(const std::string& command);

}  // namespace tiller
