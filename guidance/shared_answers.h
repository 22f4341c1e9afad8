#pragma once
#include <functional>

#include "guidance/conversation.h"
#include "io/process_group.h"

namespace tiller {

/// Asks a question's network: its raw outputs in float32, one a branch.
using Answerer = std::function<std::vector<Tensor>(const Question&)>;

/// The answers to all questions of a stage, one a branch of each. The processes of `group`, who ask
/// the same, answer a part of the branches each and hear the others' answers: all hold the very
/// same bits then. group: null: this process answers all. Throws Error where the processes' inputs
/// differ.
std::vector<std::vector<Tensor>> shared_answers(ProcessGroup* group, std::span<const Question>,
                                                const Answerer&);

/// Which of `world` processes evaluates each question, of one branch. Shares differ by one at most.
/// Equal branches are evaluated once, those of one conditioning by one process where that fits. The
/// first question is the first process's.
std::vector<int> owners_of(std::span<const Question>, int world);

/// Fills in the answers to questions that other processes have answered, and what observing
/// perturbations read there. owners: a process for each question.
void exchange_answers(ProcessGroup&, std::span<const Question>, std::span<const int> owners,
                      std::vector<std::vector<Tensor>>& answers);

}  // namespace tiller
