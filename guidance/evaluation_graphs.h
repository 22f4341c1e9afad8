#pragma once
#include <deque>
#include <map>

#include "models/network.h"
#include "models/recording.h"

namespace tiller {

/// Evaluations of networks, recorded at their second occurrence and then replayed, so that the host
/// launches one graph a step instead of thousands of kernels. Inputs, timesteps and conditionings
/// are copied to where the recording reads them: another prompt, seed, scale or step needs no other
/// recording; another shape or another set of branches does. The networks and the branches'
/// perturbations must outlive it.
class EvaluationGraphs {
 public:
  /// recorder: not empty.
  explicit EvaluationGraphs(Recorder recorder) : recorder_(std::move(recorder)) {}

  /// As tiller::evaluate, without a memory. What can't be recorded is evaluated as ever.
  Answers evaluate(const Network&, const Tensor& x, const Tensor& t, std::span<const Branch>,
                   bool share);

  int64_t recordings() const;
  int64_t replays() const { return replays_; }

 private:
  using Key = std::vector<int64_t>;

  /// A recorded evaluation and the tensors that it reads.
  struct Plan {
    const Network* network = nullptr;
    bool share = true;
    Tensor x, t;
    std::vector<Tensor> sources, parts;  ///< Of conditionings: as given, and as recorded.
    std::deque<Conditioning> conditionings;
    std::vector<Branch> branches;
    Answers answers;
    Replay replay;  ///< Empty: it can't be recorded.

    void read(const Tensor& x, const Tensor& t, const std::vector<Tensor>& sources);
    void evaluate();
  };

  static std::unique_ptr<Plan> plan(const Network&, const Tensor& x, const Tensor& t,
                                    std::span<const Branch>, bool share);

  Recorder recorder_;
  std::map<Key, std::unique_ptr<Plan>> plans_;  ///< Null: seen once.
  int64_t replays_ = 0;
};

}  // namespace tiller
