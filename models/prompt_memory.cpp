#include "models/prompt_memory.h"

#include <algorithm>

namespace tiller {
namespace {

bool are_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::ranges::equal(
      a, b, [](const at::Tensor& one, const at::Tensor& other) { return one.is_same(other); });
}

bool is_forgotten(const std::vector<at::Tensor>& prompts) {
  return std::ranges::any_of(prompts, [](const at::Tensor& one) { return one.use_count() == 1; });
}

}  // namespace

void PromptMemory::begin_step() {
  ++step_;
  read_.remove_if([&](const Read& read) { return read.last + 1 < step_; });
}

PromptMemory::Read& PromptMemory::read(const std::vector<at::Tensor>& prompts) {
  auto found = std::ranges::find_if(
      read_, [&](const Read& read) { return are_same(read.prompts, prompts); });
  if (found == read_.end()) {
    read_.remove_if([](const Read& read) { return is_forgotten(read.prompts); });
    found = read_.insert(read_.end(), Read{prompts, {}});
  }
  found->last = step_;
  return *found;
}

PromptHeads PromptMemory::recall_or(const std::vector<at::Tensor>& prompts, const void* layer,
                                    const std::function<PromptHeads()>& make) {
  auto& kept = read(prompts).kept;
  auto found = kept.find(layer);
  if (found == kept.end()) found = kept.emplace(layer, make()).first;
  return found->second;
}

}  // namespace tiller
