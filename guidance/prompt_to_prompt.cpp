#include <ATen/ATen.h>

#include "guidance/edit_controls.h"
#include "models/attention.h"

namespace tiller {
namespace {

struct PromptToPromptOptions {
  double cross = 0.8, self = 0.4;
  int64_t tokens = 256;
};

/// Prompt-to-prompt, arXiv 2208.01626: in the first steps words of the edited prompt get the
/// attention that the source's get, and small maps of self-attention are the source's.
class PromptToPrompt final : public EditControl {
 public:
  PromptToPrompt(const PromptToPromptOptions& options, const std::vector<TokenMap>& maps)
      : options_(options) {
    std::vector<Tensor> matrices, taken, weights;
    for (const auto& map : maps) {
      matrices.push_back(map.matrix);
      taken.push_back(map.taken);
      weights.push_back(map.weights);
    }
    matrix_ = at::stack(matrices).unsqueeze(1);
    taken_ = at::stack(taken).unsqueeze(1).unsqueeze(1);
    weights_ = at::stack(weights).unsqueeze(1).unsqueeze(1);
  }

  bool in_all_branches() const override { return false; }

  void begin_step(const StepContext& step) override {
    cross_ = step.step < int(options_.cross * (step.steps + 1));  // as the authors count
    self_ = step.step < int(options_.self * step.steps);
    height_ = step.height, width_ = step.width;
    for (Tensor* part : {&matrix_, &taken_, &weights_}) *part = part->to(step.device);
  }

  FromSource self_attention(const Site& site) const override {
    const Grid grid = token_grid(site, height_, width_);
    const bool acts = self_ && grid.height * grid.width <= options_.tokens;
    return {.q = acts, .k = acts};
  }

  bool acts_on_text(const Site&) const override { return cross_; }

  Tensor text_attention(const Site&, const Heads& all,
                        const AttentionWeights* weights) const override {
    const auto& [q, k, v] = all;
    const int64_t pairs = q.size(0) / 2;
    const Tensor both = attention_weights(q, k, weights);
    const Tensor source = at::matmul(both.narrow(0, 0, pairs), matrix_);
    const Tensor edit = both.narrow(0, pairs, pairs);
    const Tensor mixed = weights_ * (taken_ * source + (1 - taken_) * edit);
    return at::matmul(mixed, v.narrow(0, pairs, pairs).to(at::kFloat)).to(v.scalar_type());
  }

 private:
  PromptToPromptOptions options_;
  Tensor matrix_;           // (pairs, 1, L, L)
  Tensor taken_, weights_;  // (pairs, 1, 1, L)
  int64_t height_ = 0, width_ = 0;
  bool cross_ = false, self_ = false;
};

std::shared_ptr<EditControl> make_prompt_to_prompt(const Options& options,
                                                   EditControlContext context) {
  const std::string mode = options.choice("mode", {"auto", "replace", "refine"});
  std::vector<TokenMap> maps;
  for (const auto& pair : context.prompts) {
    const bool as_many = word_count(pair.source) == word_count(pair.edit);
    const bool replaces = mode == "replace" || (mode == "auto" && as_many);
    maps.push_back(replaces ? replace_map(pair) : refine_map(pair));
  }
  const PromptToPromptOptions chosen{options.number("cross", 0, 1), options.number("self", 0, 1),
                                     int64_t(options.number("tokens", 0, 1e9))};
  return std::make_shared<PromptToPrompt>(chosen, maps);
}

}  // namespace

EditControlEntry prompt_to_prompt_control() {
  return {.name = "p2p",
          .description = "Prompt-to-prompt: words keep the attention that the source's words get",
          .paper = "2208.01626",
          .options = {{"mode", "auto", "replace words, refine (add some), or by their number"},
                      {"cross", "0.8", "share of the steps with the source's cross-attention"},
                      {"self", "0.4", "share of the steps with its self-attention"},
                      {"tokens", "256", "the largest map of self-attention that is taken"}},
          .needs_text = true,
          .make = make_prompt_to_prompt};
}

}  // namespace tiller
