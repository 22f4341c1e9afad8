#include "guidance/shared_answers.h"

#include <ATen/ATen.h>

#include "guidance/observing.h"

namespace tiller {
namespace {

bool same_question(const Question& a, const Question& b) {
  return a.network == b.network && a.input.is_same(b.input);
}

bool same_branch(const Branch& a, const Branch& b) {
  return a.conditioning == b.conditioning && a.perturbation == b.perturbation &&
         a.cross == b.cross && a.control == b.control;
}

bool same_conditioning(const Branch& a, const Branch& b) {
  const Conditioning &own = *a.conditioning, &other = *b.conditioning;
  return own.context.is_same(other.context) && own.label.is_same(other.label);
}

/// The sum of an input's bits, read as whole numbers.
int64_t bits_of(const Tensor& input) {
  return input.contiguous().flatten().view(at::kShort).sum().item<int64_t>();
}

/// What processes that ask the same agree on.
int64_t state_of(std::span<const Question> questions) {
  uint64_t state = 0;
  for (size_t i = 0; i < questions.size(); ++i) {
    state = 31 * state + questions[i].branches.size();
    if (i == 0 || !questions[i].input.is_same(questions[i - 1].input))
      state = 31 * state + uint64_t(bits_of(questions[i].input));
  }
  return int64_t(state);
}

std::vector<const ObservingPerturbation*> readers_of(const Question& question) {
  std::vector<const ObservingPerturbation*> readers;
  for (const auto& branch : question.branches)
    if (const auto* reader = dynamic_cast<const ObservingPerturbation*>(branch.perturbation))
      readers.push_back(reader);
  return readers;
}

/// Questions of one branch each.
std::vector<Question> single_branches(std::span<const Question> questions) {
  std::vector<Question> singles;
  for (const auto& question : questions)
    for (size_t i = 0; i < question.branches.size(); ++i)
      singles.push_back(
          {question.network, question.input, {question.branches[i]}, {question.askers[i]}});
  return singles;
}

/// The inverse, of their answers.
std::vector<std::vector<Tensor>> by_question(std::span<const Question> questions,
                                             const std::vector<std::vector<Tensor>>& singles) {
  std::vector<std::vector<Tensor>> answers;
  size_t next = 0;
  for (const auto& question : questions) {
    answers.emplace_back();
    for (size_t i = 0; i < question.branches.size(); ++i)
      answers.back().push_back(singles[next++].front());
  }
  return answers;
}

/// Answers those of `singles` that are `rank`'s, all branches of one input in one batch.
std::vector<std::vector<Tensor>> own_answers(std::span<const Question> singles,
                                             std::span<const int> owners, int rank,
                                             const Answerer& answer) {
  std::vector<std::vector<Tensor>> answers(singles.size());
  for (size_t first = 0; first < singles.size(); ++first) {
    if (owners[first] != rank || !answers[first].empty()) continue;
    Question batch{singles[first].network, singles[first].input, {}, {}};
    std::vector<size_t> places;
    for (size_t i = first; i < singles.size(); ++i) {
      if (owners[i] != rank || !same_question(singles[first], singles[i])) continue;
      places.push_back(i);
      batch.branches.push_back(singles[i].branches.front());
      batch.askers.push_back(singles[i].askers.front());
    }
    const std::vector<Tensor> outputs = answer(batch);
    for (size_t i = 0; i < places.size(); ++i) answers[places[i]] = {outputs[i]};
  }
  return answers;
}

/// Indices of questions, those of one input and conditioning side by side.
std::vector<size_t> neighbours_together(std::span<const Question> questions) {
  std::vector<size_t> order;
  std::vector<bool> placed(questions.size());
  for (size_t first = 0; first < questions.size(); ++first) {
    if (placed[first]) continue;
    for (size_t i = first; i < questions.size(); ++i) {
      if (placed[i] || !same_question(questions[first], questions[i]) ||
          !same_conditioning(questions[first].branches[0], questions[i].branches[0]))
        continue;
      placed[i] = true;
      order.push_back(i);
    }
  }
  return order;
}

}  // namespace

std::vector<int> owners_of(std::span<const Question> questions, int world) {
  std::vector<int64_t> slots(questions.size(), -1);
  int64_t count = 0;
  for (const size_t i : neighbours_together(questions)) {
    for (size_t twin = 0; twin < questions.size() && slots[i] < 0; ++twin)
      if (slots[twin] >= 0 && same_question(questions[twin], questions[i]) &&
          same_branch(questions[twin].branches[0], questions[i].branches[0]))
        slots[i] = slots[twin];
    if (slots[i] < 0) slots[i] = count++;
  }
  std::vector<int> owners;
  for (const int64_t slot : slots) owners.push_back(int(slot * world / count));
  return owners;
}

void exchange_answers(ProcessGroup& group, std::span<const Question> questions,
                      std::span<const int> owners, std::vector<std::vector<Tensor>>& answers) {
  std::vector<Tensor> own;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (owners[i] != group.rank()) continue;
    own.insert(own.end(), answers[i].begin(), answers[i].end());
    for (const auto* reader : readers_of(questions[i])) own.push_back(reader->reading());
  }
  const auto said = group.gather(own, state_of(questions));
  std::vector<size_t> heard(said.size());
  for (size_t i = 0; i < questions.size(); ++i) {
    if (owners[i] == group.rank()) continue;
    const size_t who = size_t(owners[i]);
    const auto next = [&] { return said[who].at(heard[who]++).to(questions[i].input.device()); };
    for (size_t branch = 0; branch < questions[i].branches.size(); ++branch)
      answers[i].push_back(next());
    for (const auto* reader : readers_of(questions[i])) reader->set_reading(next());
  }
}

std::vector<std::vector<Tensor>> shared_answers(ProcessGroup* group,
                                                std::span<const Question> questions,
                                                const Answerer& answer) {
  if (!group) {
    std::vector<std::vector<Tensor>> answers;
    for (const auto& question : questions) answers.push_back(answer(question));
    return answers;
  }
  const std::vector<Question> singles = single_branches(questions);
  const std::vector<int> owners = owners_of(singles, group->world());
  auto answers = own_answers(singles, owners, group->rank(), answer);
  exchange_answers(*group, singles, owners, answers);
  return by_question(questions, answers);
}

}  // namespace tiller
