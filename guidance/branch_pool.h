#pragma once
#include <deque>

#include "guidance/conversation.h"
#include "guidance/pooled_perturbation.h"

namespace tiller {

/// Whether two questions can be asked in one batch: branch by branch the same kinds of conditioning
/// and perturbation.
bool poolable(const Question&, const Question&);

/// Branches for the rows of several questions, one after the other. What the questions' branches
/// share, the pool's share too. The questions must outlive it.
class BranchPool {
 public:
  explicit BranchPool(std::span<const Question* const>);
  std::span<const Branch> branches() const { return branches_; }

 private:
  Tensor joined(Tensor Conditioning::*part, std::span<const Conditioning* const>);
  const Perturbation* joined(const Perturbation* Branch::*part, size_t branch);
  const Conditioning* conditioning(size_t branch);

  std::vector<const Question*> questions_;
  std::vector<Branch> branches_;
  std::deque<Conditioning> conditionings_;
  std::map<std::vector<const void*>, Tensor> tensors_;
  std::map<std::vector<const Perturbation*>, std::unique_ptr<PooledPerturbation>> perturbations_;
};

}  // namespace tiller
