#pragma once
#include <deque>
#include <map>
#include <string>

#include "models/network.h"
#include "models/recording.h"

namespace tiller {

/// Evaluations of networks, recorded at their second occurrence and then replayed, so that the host
/// launches one graph a step instead of thousands of kernels. Inputs, timesteps and conditionings
/// are copied to where the recording reads them: another prompt, seed, scale or step needs no other
/// recording; another shape or another set of branches does. Of a network that reads prompts there
/// are two: one that makes their keys and values, replayed where a conditioning has changed, and
/// one that takes them. The networks and the branches' perturbations must outlive it.
class EvaluationGraphs {
 public:
  /// recorder: not empty.
  explicit EvaluationGraphs(Recorder recorder) : recorder_(std::move(recorder)) {}

  /// As tiller::evaluate, without a memory of features. What can't be recorded is evaluated as
  /// ever. prompts: null: nothing of prompts is kept in recordings either.
  Answers evaluate(const Network&, const Tensor& x, const Tensor& t, std::span<const Branch>,
                   bool share, PromptMemory* prompts = nullptr);

  int64_t recordings() const;
  int64_t replays() const { return replays_; }
  /// Why the first recording that failed did, in a line; empty: none did.
  const std::string& problem() const { return problem_; }

 private:
  using Key = std::vector<int64_t>;

  struct Recorded {
    Replay replay;  ///< Empty: it can't be recorded, or needn't be.
    Answers answers;
  };

  /// A recorded evaluation and the tensors that it reads.
  struct Plan {
    const Network* network = nullptr;
    bool share = true, keeps_prompts = true;
    Tensor x, t;
    std::vector<Tensor> sources, parts;  ///< Of conditionings: as given, and as recorded.
    std::deque<Conditioning> conditionings;
    std::vector<Branch> branches;
    PromptMemory prompts;
    bool has_prompts = false;  ///< Whether `prompts` holds what comes of `parts` as they are.
    Recorded whole, rest;      ///< `rest` takes what `whole` left in `prompts`.

    void record(const Recorder&);
    void read(const Tensor& x, const Tensor& t, const std::vector<Tensor>& sources);
    Answers replay();
    Answers evaluate();
  };

  static std::unique_ptr<Plan> plan(const Network&, const Tensor& x, const Tensor& t,
                                    std::span<const Branch>, bool share, bool keeps_prompts);

  Recorder recorder_;
  std::map<Key, std::unique_ptr<Plan>> plans_;  ///< Null: seen once.
  int64_t replays_ = 0;
  std::string problem_;
};

}  // namespace tiller
