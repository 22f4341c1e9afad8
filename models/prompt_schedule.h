#pragma once
#include <string>
#include <vector>

namespace tiller {

/// What a prompt says at each step of a run.
struct PromptSchedule {
  std::vector<std::string> texts;  ///< Distinct, in the order in which they come.
  std::vector<size_t> at;          ///< Each step's among them, the noisiest step's first.

  bool changes() const { return texts.size() > 1; }
};

/// By Automatic1111's rules: `[from:to:when]`, `[to:when]` and `[from::when]` change after `when`
/// steps, or after that share of them where the number has a point, and `[a|b]` takes turns. As
/// there the first two steps read the same, and a prompt in which a `|` stands elsewhere is left
/// as it is. Throws Error where there would be more than 1,000 texts.
PromptSchedule prompt_schedule(const std::string& prompt, int steps);

}  // namespace tiller
