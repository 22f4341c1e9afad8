#include "tools/together.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/hash.h"
#include "io/json.h"
#include "tools/parallel.h"

namespace tiller {
namespace {

using Shares = Together::Shares;

const std::vector<std::pair<std::string, Shares>>& names() {
  static const std::vector<std::pair<std::string, Shares>> all = {{"branches", Shares::branches},
                                                                  {"batch", Shares::batch}};
  return all;
}

/// A number that differs where requests do.
int64_t number_of(const GenerateRequest& request) {
  return std::stoll(sha256_of(dumped(to_json(request))).substr(0, 15), nullptr, 16);
}

Shares shares_of(const std::string& parallel, const GenerateRequest& request,
                 const Launch& launch) {
  const Shares shares = shares_from(parallel);
  if (shares == Shares::branches && !request.parallel.empty()) return Shares::steps;
  if (shares != Shares::nothing) return shares;
  if (requested_parallel(request, request.steps)) return Shares::steps;
  if (launch.world > 1)
    throw UsageError("generate: got " + std::to_string(launch.world) +
                     " processes and no --parallel, expected --parallel batch (they share the "
                     "images) or --parallel branches (they share each image's evaluations).");
  return Shares::nothing;
}

}  // namespace

Shares shares_from(const std::string& text) {
  for (const auto& [name, shares] : names()) {
    if (text == name) return shares;
    if (text.starts_with(name + ":"))
      throw UsageError("--parallel: got '" + printable(text) + "', expected " + name +
                       ", which has no options.");
  }
  return Shares::nothing;
}

Together meet(const std::string& parallel, const GenerateRequest& request) {
  const Launch launch = launch_from_environment();
  const Shares shares = shares_of(parallel, request, launch);
  return {shares, std::make_unique<Processes>(launch)};
}

void check_together(const Together& together, const Generation& generation) {
  if (together.world() == 1) return;
  const auto refuse = [&](const std::string& what, const std::string& why) {
    throw UsageError("--parallel: got " + what + " with " + std::to_string(together.world()) +
                     " processes, " + why + ".");
  };
  const std::string exact = "which must round as one process does";
  if (generation.inversion) refuse("--inversion", exact);
  if (generation.keeps_state) refuse("--save-inversion", exact);
  if (together.shares == Shares::branches && !generation.request.cache.empty())
    refuse("branches and --cache", "which keeps all branches in one; expected --parallel batch");
}

void connect(Together& together, Generation& generation) {
  if (together.world() == 1) return;
  together.processes->meet("checks");
  together.group = std::make_unique<ProcessGroup>(*together.processes);
  together.group->gather({}, number_of(generation.request));
  if (together.shares != Shares::batch) generation.together = together.group.get();
}

std::vector<size_t> own_part(const Together& together, const std::vector<size_t>& all) {
  if (!together.group || together.shares != Shares::batch) return all;
  const auto border = [&](int rank) {
    return all.begin() + std::ptrdiff_t(all.size() * size_t(rank) / size_t(together.world()));
  };
  const int rank = together.group->rank();
  return {border(rank), border(rank + 1)};
}

GuidanceCost total_cost(const Together& together, GuidanceCost cost) {
  if (!together.group) return cost;
  Tensor numbers = at::tensor({cost.flops.spent, cost.flops.unshared, double(cost.evaluations),
                               double(cost.branches), double(cost.reused)},
                              at::kDouble);
  together.group->sum(numbers);
  const auto* number = numbers.const_data_ptr<double>();
  cost.flops = {number[0], number[1]};
  cost.evaluations = int64_t(number[2]);
  cost.branches = int64_t(number[3]);
  cost.reused = int64_t(number[4]);
  return cost;
}

Json together_json(const Together& together) {
  for (const auto& [name, shares] : names())
    if (together.shares == shares) return {{"method", name}, {"processes", together.world()}};
  return nullptr;
}

void require_one_process(const std::string& command) {
  const int world = launch_from_environment().world;
  if (world > 1)
    throw UsageError(command + ": got " + std::to_string(world) +
                     " processes, expected one: they would all do the same.");
}

}  // namespace tiller
