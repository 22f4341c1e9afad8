#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "models/alterations.h"
#include "models/edit_control.h"
#include "models/prompt_memory.h"

namespace tiller {

class ControlNet;
class FeatureMemory;
struct IpAdapter;

/// A ControlNet and the image that it steers by, or what a T2I-Adapter makes of one.
struct Control {
  std::shared_ptr<const ControlNet> net;
  Tensor hint;  ///< (1, C, H, W) at the latent's size: the image as ControlNet::embed reads it.
  double scale = 1;
  double from = 0, to = 1;  ///< Acts at step i of n where from <= i / n and (i + 1) / n <= to.
  std::vector<Tensor> features = {};  ///< t2i_features', in place of net and hint.
};

/// What a network is conditioned on. Undefined tensors are absent. Branches that hold the very same
/// tensors (not equal ones) are known to coincide. B counts images.
struct Conditioning {
  Tensor label;          ///< (B) int64 class indices.
  Tensor context;        ///< (B, L, D) text states for cross-attention.
  Tensor pooled;         ///< (B, P) pooled text states (SDXL).
  Tensor time_ids;       ///< (B, 6) sizes and crops (SDXL); (B, 5) in its refiner.
  Tensor guidance = {};  ///< (B, G) embedded guidance scale of a distilled network (LCM).
  Tensor channels = {};  ///< (B, C', H, W) read beside x: an inpainting mask and masked latents.
  Tensor image = {};     ///< (B, L', D) tokens of an image prompt, which `adapter` attends to.
  std::shared_ptr<const IpAdapter> adapter = {};  ///< The same for all branches, as are
  std::vector<Control> controls = {};             ///< these.
};

/// Reads a branch's cross-attention to its own context, and changes nothing. q: (B, heads, N, d);
/// k: (B, heads, L, d).
using TextObserver = std::function<void(const Site&, const Tensor& q, const Tensor& k)>;

/// Whether these are the very same rows of one tensor.
bool same_rows(const Tensor&, const Tensor&);

/// One evaluation of the network that guidance needs at a step.
struct Branch {
  const Conditioning* conditioning = nullptr;
  const Perturbation* perturbation = nullptr;
  const Perturbation* cross = nullptr;  ///< One of kind cross, besides the other.
  const TextObserver* observer = nullptr;
  const EditControl* control = nullptr;  ///< Besides the perturbation; needs an even B.
  Alterations altered = {};              ///< The same for all branches.
};

struct RowOptions {
  bool share = true;      ///< false gives each branch rows of its own from the start.
  bool training = false;  ///< Networks apply dropout.
  /// Networks keep no activations of their blocks for the backward pass (recompute.h). For one
  /// branch that nothing perturbs.
  bool recompute = false;
  FeatureMemory* memory = nullptr;  ///< What networks keep of earlier evaluations; null: nothing.
  PromptMemory* prompts = nullptr;  ///< Where keys and values of prompts are kept; null: nowhere.
};

/// Floating-point operations (2 a multiply-add) of convolutions, linear layers and attention.
struct FlopCount {
  double spent = 0;     ///< As evaluated.
  double unshared = 0;  ///< Had each branch been evaluated alone, with all queries and keys anew.
};

/// What a self-attention makes of tokens (R, N, C). Each counts its operations.
struct SelfProjection {
  std::function<Heads(const Tensor& tokens)> all;
  std::function<Tensor(const Tensor& tokens)> values;  ///< Those of `all`, alone.
};

using ContextProjection = std::function<PromptHeads(const Tensor& contexts)>;

/// The rows of one batched evaluation. Branches that so far had the same input, conditioning and no
/// perturbation share a group of B rows; the group forks at the first site where they differ. New
/// groups are appended, so row r of group g is row g * B + r. A network calls the members below in
/// execution order; all of them return rows for the groups as they are after the call.
class Rows {
 public:
  /// images: B.
  Rows(std::span<const Branch> branches, int64_t images, RowOptions options = {});

  int64_t images() const { return images_; }
  int64_t groups() const { return static_cast<int64_t>(members_.size()); }
  int64_t branches() const { return static_cast<int64_t>(branches_.size()); }
  bool training() const { return options_.training; }
  const RowOptions& options() const { return options_; }
  const Branch& branch(int64_t index) const { return branches_[index]; }
  /// Those that all branches share.
  const std::vector<Control>& controls() const { return branches_.front().conditioning->controls; }
  /// nullptr: there is none.
  const IpAdapter* adapter() const { return branches_.front().conditioning->adapter.get(); }
  const Alterations& altered() const { return branches_.front().altered; }
  /// Adds operations spent on this many rows together: a layer may run before its groups fork.
  void count(double operations, int64_t rows);
  /// Adds the operations of another network that was evaluated for the same branches.
  void count(const FlopCount&);
  const FlopCount& flops() const { return flops_; }

  /// x of B rows, repeated for each group that exists at the start.
  Tensor roots(const Tensor& x) const;
  /// The time embedding (R, E) of the groups at the start, perturbed where branches ask for it.
  Tensor time(Tensor embedding) const;
  /// A conditioning's tensor for each group, concatenated. Undefined when the branches have none.
  Tensor gather(Tensor Conditioning::*part) const;
  /// One tensor (B, ...) a branch for each group, concatenated: that of its first branch.
  Tensor gather(const std::vector<Tensor>& by_branch) const;
  /// Brings a tensor made when there were fewer groups up to the present ones.
  Tensor expand(const Tensor& x) const;

  /// Before a block: tokens (R, N, C) changed by the branches that perturb what enters this site.
  Tensor enter(const Site&, Tensor tokens);
  /// Self-attention for all groups, perturbed where branches ask for it. (R, heads, N, d).
  Tensor attention(const Site&, const Tensor& q, const Tensor& k, const Tensor& v);
  /// The same from tokens (R, N, C). Groups whose branches all have the identity for their map get
  /// their values alone, unless an edit is controlled here.
  Tensor attention(const Site&, const Tensor& tokens, const SelfProjection&);
  /// Before cross-attention: forks groups whose branches read different contexts, or the same one
  /// in different ways.
  Tensor split_contexts(const Site&, Tensor tokens);
  /// Forks groups whose branches read different contexts.
  Tensor split_contexts(Tensor x);
  /// Cross-attention of all groups to their contexts. q: (R, heads, N, d); project: keys and values
  /// of contexts (R', L, D), each (R', heads, L, d).
  Tensor cross_attention(const Site&, const Tensor& q, const ContextProjection& project);
  /// Keys and values that `layer` makes of this part of the groups' conditionings: as kept from an
  /// earlier evaluation, or `made`.
  PromptHeads prompt_heads(Tensor Conditioning::*part, const void* layer,
                           const std::function<PromptHeads()>& make);
  /// What the way up's n-th residual block adds to its input, h (R, C, H, W). Negative: no block of
  /// the way up.
  Tensor features(int block, Tensor h);
  /// After a stack's last block, before any other layer: rows of branches that skipped blocks.
  Tensor resume(Tensor tokens);
  /// One tensor (B, ...) a branch, such as `outputs` gave at another evaluation, for each group:
  /// groups fork whose branches hold different rows there.
  Tensor recall(const std::vector<Tensor>& by_branch);
  /// After a stack's last site: shuffles that were put off are done here, as one permutation.
  /// tokens: (R, N, C).
  Tensor leave_stack(Tensor tokens);

  /// The network's output, one (B, ...) tensor a branch.
  std::vector<Tensor> outputs(const Tensor& x) const;

 private:
  /// What replaces attention, by group.
  using Rules = std::map<int64_t, const Perturbation*>;

  /// Of all groups, gathered once for as long as no group forks.
  const Tensor& contexts(at::ScalarType);
  int64_t group_of(int64_t branch) const;
  int64_t split_off(int64_t group, const std::function<bool(const Branch&)>& leaves);
  int64_t split_members(int64_t group, const std::function<bool(int64_t branch)>& leave);
  int64_t isolate(int64_t branch);
  Tensor replace(const Tensor& x, int64_t group, const Tensor& rows) const;
  Tensor slice(const Tensor& x, int64_t group) const;
  /// The rows of these groups, in their order.
  Tensor slices(const Tensor& x, const std::vector<int64_t>& groups) const;
  int64_t branches_of(const std::vector<int64_t>& groups) const;
  bool acts(int64_t branch, const Site&, Perturbation::Kind) const;
  Tensor resume_before(const Site* next, Tensor tokens);
  /// The control of a group that acts here; nullptr: none.
  template <class Acts>
  const EditControl* control_of(int64_t group, const Acts&) const;
  /// Forks groups whose branches are controlled differently here. Returns whether any is.
  template <class Acts>
  bool split_controls(const Acts&);
  Tensor with_sources(const Tensor& x, int64_t group) const;
  void read_sources(const Site&, Tensor& q, Tensor& k, Tensor& v);
  Tensor control_text(const Site&, const Tensor& q, const Tensor& k, const Tensor& v,
                      Tensor attended) const;
  void observe(const Site&, const std::function<Heads(int64_t group)>&) const;
  void observe_text(const Site&, const Tensor& q, const Tensor& k) const;
  /// Attention of all groups, by a rule of its own in those of `rules`, in the others with these
  /// weights.
  Tensor attend(const Site&, const Heads& all, const Rules&,
                const AttentionWeights* = nullptr) const;
  Tensor attend(const Site&, const std::vector<Heads>& of_groups, const Rules&,
                const AttentionWeights* = nullptr) const;
  std::vector<Heads> by_group(const Heads& all) const;
  bool is_controlled(const Site&) const;
  bool is_identity(int64_t group, const Site&) const;
  /// Gives branches rows of their own where their self-attention is replaced.
  Rules self_rules(const Site&);
  void count_self_attention(const Tensor& v, const Rules&);
  /// Heads of each group, without queries and keys in those of `identities`.
  std::vector<Heads> project_apart(const Tensor& tokens, const std::vector<int64_t>& identities,
                                   const SelfProjection&);
  PromptHeads kept_or(const std::vector<Tensor>& prompts, const void* layer,
                      const std::function<PromptHeads()>& make);
  /// What operations on these rows together would be, had each branch been evaluated alone.
  double unshared(double operations, int64_t rows) const;
  Tensor attend_to_second(const Site&, const Tensor& q, const std::vector<int64_t>& groups,
                          const ContextProjection&);

  std::vector<Branch> branches_;
  int64_t images_;
  RowOptions options_;
  FlopCount flops_;
  std::vector<std::vector<int64_t>> members_;  // branches of each group
  std::vector<int64_t> parents_;               // the group that each group forked from; -1: a root
  Tensor contexts_;                            // gathered when there were
  int64_t contexts_of_ = 0;                    // so many groups
  std::map<int64_t, Tensor> pending_;          // permutations put off, by branch
  std::map<int64_t, Tensor> skipping_;         // tokens that blocks are skipped with, by branch
  std::optional<int64_t> doing_;               // branches that an operation is for; empty: all
};

}  // namespace tiller
