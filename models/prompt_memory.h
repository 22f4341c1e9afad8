#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <list>
#include <map>
#include <vector>

namespace tiller {

/// Keys and values of prompts, (R, heads, L, d) each, and the operations that they took.
struct PromptHeads {
  at::Tensor k, v;
  double operations = 0;
};

/// Keys and values that a network's layers make of prompts, texts or images. No step changes them,
/// so a run makes them in its first step and keeps them. Prompts are known by their very
/// tensors, which mustn't change meanwhile.
class PromptMemory {
 public:
  /// Before a step's evaluations: gives up prompts that the step before didn't read. Those that
  /// nobody else holds any more can't come again, and go as soon as others come.
  void begin_step();
  /// What `layer`, which stays at its address, makes of these prompts together: as kept, or `made`.
  PromptHeads recall_or(const std::vector<at::Tensor>& prompts, const void* layer,
                        const std::function<PromptHeads()>& make);
  bool empty() const { return read_.empty(); }
  void clear() { read_.clear(); }

 private:
  struct Read {
    std::vector<at::Tensor> prompts;
    std::map<const void*, PromptHeads> kept;
    int64_t last = 0;  ///< The step that read them last.
  };

  Read& read(const std::vector<at::Tensor>& prompts);

  std::list<Read> read_;
  int64_t step_ = 0;
};

}  // namespace tiller
