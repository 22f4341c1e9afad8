#include <ATen/ATen.h>

#include <algorithm>

#include "models/attention.h"
#include "models/branch.h"

namespace tiller {
namespace {

/// The branch's perturbation of the time embedding; nullptr: none.
const Perturbation* time_rule(const Branch& branch) {
  const Perturbation* rule = branch.perturbation;
  return rule && rule->kind() == Perturbation::Kind::time ? rule : nullptr;
}

/// What controls the branch where `acts`; nullptr: nothing.
template <class Acts>
const EditControl* control_where(const Branch& branch, const Acts& acts) {
  return branch.control && acts(*branch.control) ? branch.control : nullptr;
}

const auto on_self = [](const Site& site) {
  return [&site](const EditControl& control) { return control.self_attention(site).any(); };
};

const auto on_text = [](const Site& site) {
  return [&site](const EditControl& control) { return control.acts_on_text(site); };
};

/// What replaces the branch's cross-attention at a site; nullptr: nothing.
const Perturbation* text_rule(const Branch& branch, const Site& site) {
  const Perturbation* rule = branch.perturbation;
  return rule && rule->kind() == Perturbation::Kind::text && rule->acts_at(site) ? rule : nullptr;
}

/// Whether two branches read the same from the start of the network on. Contexts come in later.
bool same_root(const Branch& a, const Branch& b) {
  const auto same = [&](Tensor Conditioning::*part) {
    return (a.conditioning->*part).is_same(b.conditioning->*part);
  };
  return same(&Conditioning::label) && same(&Conditioning::pooled) &&
         same(&Conditioning::time_ids) && same(&Conditioning::guidance) &&
         same(&Conditioning::channels) && time_rule(a) == time_rule(b);
}

bool same_context(const Branch& a, const Branch& b) {
  return a.conditioning->context.is_same(b.conditioning->context) &&
         a.conditioning->image.is_same(b.conditioning->image) && a.cross == b.cross;
}

Tensor shuffled(const Tensor& tokens, const Tensor& permutation) {
  return tokens.gather(1, permutation.unsqueeze(-1).expand(tokens.sizes()));
}

}  // namespace

bool same_rows(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.const_data_ptr() == b.const_data_ptr();
}

Rows::Rows(std::span<const Branch> branches, int64_t images, RowOptions options)
    : branches_(branches.begin(), branches.end()), images_(images), options_(options) {
  for (int64_t b = 0; b < this->branches(); ++b) {
    const auto joins = [&](const std::vector<int64_t>& group) {
      return options_.share && same_root(branches_[group.front()], branches_[b]);
    };
    const auto found = std::find_if(members_.begin(), members_.end(), joins);
    if (found != members_.end())
      found->push_back(b);
    else
      members_.push_back({b});
  }
  parents_.assign(members_.size(), -1);
}

double Rows::unshared(double operations, int64_t rows) const {
  return operations / rows * images_ * doing_.value_or(branches());
}

void Rows::count(double operations, int64_t rows) {
  flops_.spent += operations;
  flops_.unshared += unshared(operations, rows);
}

void Rows::count(const FlopCount& other) {
  flops_.spent += other.spent;
  flops_.unshared += other.unshared;
}

Tensor Rows::slice(const Tensor& x, int64_t group) const {
  return x.narrow(0, group * images_, images_);
}

Tensor Rows::roots(const Tensor& x) const {
  const auto copies = std::count(parents_.begin(), parents_.end(), -1);
  return copies == 1 ? x : at::cat(std::vector<Tensor>(copies, x));
}

Tensor Rows::time(Tensor embedding) const {
  for (int64_t g = 0; g < groups(); ++g)
    if (const Perturbation* rule = time_rule(branches_[members_[g].front()]))
      embedding = replace(embedding, g, rule->time(slice(embedding, g)));
  return embedding;
}

Tensor Rows::gather(Tensor Conditioning::*part) const {
  std::vector<Tensor> parts;
  for (const auto& group : members_) parts.push_back(branches_[group.front()].conditioning->*part);
  if (!parts.front().defined()) return {};
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

const Tensor& Rows::contexts(at::ScalarType dtype) {
  if (!contexts_.defined() || contexts_of_ != groups() || contexts_.scalar_type() != dtype) {
    contexts_ = gather(&Conditioning::context).to(dtype);
    contexts_of_ = groups();
  }
  return contexts_;
}

PromptHeads Rows::prompt_heads(Tensor Conditioning::*part, const void* layer,
                               const std::function<PromptHeads()>& make) {
  std::vector<Tensor> prompts;
  for (const auto& group : members_)
    prompts.push_back(branches_[group.front()].conditioning->*part);
  return kept_or(prompts, layer, make);
}

PromptHeads Rows::kept_or(const std::vector<Tensor>& prompts, const void* layer,
                          const std::function<PromptHeads()>& make) {
  if (!options_.prompts) return make();
  bool made = false;
  PromptHeads heads = options_.prompts->recall_or(prompts, layer, [&] {
    made = true;
    const double before = flops_.spent;
    PromptHeads fresh = make();
    fresh.operations = flops_.spent - before;
    return fresh;
  });
  if (!made) flops_.unshared += unshared(heads.operations, heads.k.size(0));
  return heads;
}

Tensor Rows::gather(const std::vector<Tensor>& by_branch) const {
  std::vector<Tensor> parts;
  for (const auto& group : members_) parts.push_back(by_branch[group.front()]);
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

Tensor Rows::expand(const Tensor& x) const {
  const int64_t known = x.size(0) / images_;
  if (known == groups()) return x;
  std::vector<Tensor> parts = {x};
  for (int64_t g = known; g < groups(); ++g) {
    int64_t source = g;
    while (source >= known) source = parents_[source];
    parts.push_back(slice(x, source));
  }
  return at::cat(parts);
}

int64_t Rows::group_of(int64_t branch) const {
  for (int64_t g = 0; g < groups(); ++g)
    if (std::count(members_[g].begin(), members_[g].end(), branch)) return g;
  return -1;
}

int64_t Rows::split_off(int64_t from, const std::function<bool(const Branch&)>& leaves) {
  return split_members(from, [&](int64_t branch) { return leaves(branches_[branch]); });
}

/// Moves the members of a group that `leave` into a new group; none when all or no member would.
int64_t Rows::split_members(int64_t from, const std::function<bool(int64_t)>& leave) {
  auto& group = members_[from];
  const auto middle = std::stable_partition(group.begin(), group.end(),
                                            [&](int64_t branch) { return !leave(branch); });
  if (middle == group.begin() || middle == group.end()) return from;
  std::vector<int64_t> moved(middle, group.end());
  group.erase(middle, group.end());
  members_.push_back(std::move(moved));
  parents_.push_back(from);
  return groups() - 1;
}

/// A group for a branch and those that agree with it for good.
int64_t Rows::isolate(int64_t branch) {
  const Branch& own = branches_[branch];
  return split_off(group_of(branch), [&](const Branch& other) {
    return other.perturbation == own.perturbation && other.control == own.control &&
           same_context(other, own);
  });
}

bool Rows::acts(int64_t branch, const Site& site, Perturbation::Kind kind) const {
  const Perturbation* perturbation = branches_[branch].perturbation;
  return perturbation && perturbation->kind() == kind && perturbation->acts_at(site);
}

Tensor Rows::replace(const Tensor& x, int64_t group, const Tensor& rows) const {
  std::vector<Tensor> parts;
  for (int64_t g = 0; g < groups(); ++g) parts.push_back(g == group ? rows : slice(x, g));
  return parts.size() == 1 ? rows : at::cat(parts);
}

/// Gives rows of their own to branches that skipped blocks and don't skip `next`.
Tensor Rows::resume_before(const Site* next, Tensor tokens) {
  for (auto it = skipping_.begin(); it != skipping_.end();) {
    const auto& [branch, held] = *it;
    if (next && acts(branch, *next, Perturbation::Kind::skip)) {
      ++it;
      continue;
    }
    const int64_t group = isolate(branch);
    tokens = replace(expand(tokens), group, held);
    it = skipping_.erase(it);
  }
  return tokens;
}

Tensor Rows::resume(Tensor tokens) { return resume_before(nullptr, std::move(tokens)); }

Tensor Rows::enter(const Site& site, Tensor tokens) {
  tokens = resume_before(&site, std::move(tokens));
  std::set<int64_t> done;
  for (int64_t b = 0; b < branches(); ++b) {
    const Perturbation* perturbation = branches_[b].perturbation;
    if (acts(b, site, Perturbation::Kind::permutation)) {
      const Tensor permutation = perturbation->permutation(site);
      if (options_.share) {
        Tensor& pending = pending_[b];
        pending = pending.defined() ? pending.gather(1, permutation) : permutation;
      } else {
        const int64_t group = group_of(b);
        tokens = replace(tokens, group, shuffled(slice(tokens, group), permutation));
      }
    } else if (acts(b, site, Perturbation::Kind::tokens)) {
      const int64_t group = isolate(b);
      tokens = expand(tokens);
      if (done.insert(group).second)
        tokens = replace(tokens, group, perturbation->tokens(site, slice(tokens, group)));
    } else if (acts(b, site, Perturbation::Kind::skip) && !skipping_.contains(b)) {
      skipping_[b] = slice(tokens, group_of(b));
    }
  }
  return tokens;
}

void Rows::observe_text(const Site& site, const Tensor& q, const Tensor& k) const {
  for (int64_t b = 0; b < branches(); ++b)
    if (const TextObserver* observer = branches_[b].observer)
      (*observer)(site, slice(q, group_of(b)), slice(k, group_of(b)));
}

std::vector<Heads> Rows::by_group(const Heads& all) const {
  std::vector<Heads> parts;
  for (int64_t g = 0; g < groups(); ++g)
    parts.push_back({slice(all.q, g), slice(all.k, g), slice(all.v, g)});
  return parts;
}

Tensor Rows::attend(const Site& site, const std::vector<Heads>& heads, const Rules& rules,
                    const AttentionWeights* weights) const {
  std::vector<Tensor> parts;
  for (int64_t g = 0; g < groups(); ++g) {
    const auto& [q, k, v] = heads[g];
    const auto found = rules.find(g);
    if (found == rules.end())
      parts.push_back(tiller::attention(q, k, v, weights));
    else
      parts.push_back(found->second->is_identity() ? v : found->second->attention(site, q, k, v));
  }
  return at::cat(parts);
}

Tensor Rows::attend(const Site& site, const Heads& all, const Rules& rules,
                    const AttentionWeights* weights) const {
  return rules.empty() ? tiller::attention(all.q, all.k, all.v, weights)
                       : attend(site, by_group(all), rules, weights);
}

template <class Acts>
const EditControl* Rows::control_of(int64_t group, const Acts& acts) const {
  return control_where(branches_[members_[group].front()], acts);
}

template <class Acts>
bool Rows::split_controls(const Acts& acts) {
  bool any = false;
  for (int64_t g = 0; g < groups(); ++g) {
    const EditControl* first = control_of(g, acts);
    split_off(g, [&](const Branch& other) { return control_where(other, acts) != first; });
    any |= first != nullptr;
  }
  return any;
}

/// A group's sources, twice in place of the group.
Tensor Rows::with_sources(const Tensor& x, int64_t group) const {
  const Tensor sources = slice(x, group).narrow(0, 0, images_ / 2);
  return replace(x, group, at::cat({sources, sources}));
}

bool Rows::is_controlled(const Site& site) const {
  return std::any_of(branches_.begin(), branches_.end(), [&](const Branch& branch) {
    return control_where(branch, on_self(site)) != nullptr;
  });
}

void Rows::read_sources(const Site& site, Tensor& q, Tensor& k, Tensor& v) {
  const auto acts = on_self(site);
  if (!split_controls(acts)) return;
  for (Tensor* part : {&q, &k, &v}) *part = expand(*part);
  for (int64_t g = 0; g < groups(); ++g) {
    const EditControl* control = control_of(g, acts);
    if (!control) continue;
    const FromSource from = control->self_attention(site);
    if (from.q) q = with_sources(q, g);
    if (from.k) k = with_sources(k, g);
    if (from.v) v = with_sources(v, g);
  }
}

Tensor Rows::features(int block, Tensor h) {
  const auto acts = [&](const EditControl& control) { return control.acts_on_features(block); };
  if (block < 0 || !split_controls(acts)) return h;
  h = expand(h);
  for (int64_t g = 0; g < groups(); ++g)
    if (control_of(g, acts)) h = with_sources(h, g);
  return h;
}

Tensor Rows::split_contexts(Tensor x) {
  for (int64_t g = 0; g < groups(); ++g) {
    const Branch first = branches_[members_[g].front()];
    split_off(g, [&](const Branch& other) { return !same_context(other, first); });
  }
  return expand(x);
}

Tensor Rows::split_contexts(const Site& site, Tensor tokens) {
  for (int64_t g = 0; g < groups(); ++g) {
    const Branch first = branches_[members_[g].front()];
    split_off(g, [&](const Branch& other) {
      return !same_context(other, first) || text_rule(other, site) != text_rule(first, site) ||
             control_where(other, on_text(site)) != control_where(first, on_text(site));
    });
  }
  return expand(tokens);
}

/// (groups * B, heads, N, d) for the groups given.
Tensor Rows::attend_to_second(const Site& site, const Tensor& q, const std::vector<int64_t>& groups,
                              const ContextProjection& project) {
  std::vector<Tensor> contexts, queries;
  int64_t doing = 0;
  for (const int64_t g : groups) {
    contexts.push_back(branches_[members_[g].front()].cross->context());
    queries.push_back(slice(q, g));
    doing += static_cast<int64_t>(members_[g].size());
  }
  doing_ = doing;
  const PromptHeads text = kept_or(contexts, &site, [&] { return project(at::cat(contexts)); });
  const Tensor own = at::cat(queries);
  count(4.0 * own.numel() * text.k.size(2), own.size(0));
  doing_.reset();
  return tiller::attention(own, text.k, text.v, altered().text);
}

/// Where a group's attention to its text isn't perturbed, edits take their control's.
Tensor Rows::control_text(const Site& site, const Tensor& q, const Tensor& k, const Tensor& v,
                          Tensor attended) const {
  for (int64_t g = 0; g < groups(); ++g) {
    const EditControl* control = control_of(g, on_text(site));
    if (!control || text_rule(branches_[members_[g].front()], site)) continue;
    const Tensor edits =
        control->text_attention(site, {slice(q, g), slice(k, g), slice(v, g)}, altered().text);
    const Tensor sources = slice(attended, g).narrow(0, 0, images_ / 2);
    attended = replace(attended, g, at::cat({sources, edits}));
  }
  return attended;
}

Tensor Rows::cross_attention(const Site& site, const Tensor& q, const ContextProjection& project) {
  const PromptHeads text = prompt_heads(&Conditioning::context, &site,
                                        [&] { return project(contexts(q.scalar_type())); });
  const Tensor &k = text.k, &v = text.v;
  count(4.0 * q.numel() * k.size(2), q.size(0));
  observe_text(site, q, k);
  Rules perturbed;
  for (int64_t g = 0; g < groups(); ++g)
    if (const Perturbation* own = text_rule(branches_[members_[g].front()], site))
      perturbed[g] = own;
  Tensor attended =
      control_text(site, q, k, v, attend(site, Heads{q, k, v}, perturbed, altered().text));
  const auto rule = [&](int64_t group) { return branches_[members_[group].front()].cross; };
  std::vector<int64_t> blended;
  for (int64_t g = 0; g < groups(); ++g)
    if (rule(g) && rule(g)->acts_at(site)) blended.push_back(g);
  if (blended.empty()) return attended;
  const Tensor second = attend_to_second(site, q, blended, project);
  for (size_t i = 0; i < blended.size(); ++i) {
    const int64_t g = blended[i];
    attended = replace(attended, g, rule(g)->blend(slice(attended, g), slice(second, i)));
  }
  return attended;
}

Tensor Rows::recall(const std::vector<Tensor>& by_branch) {
  for (int64_t g = 0; g < groups(); ++g) {
    const Tensor& first = by_branch[members_[g].front()];
    split_members(g, [&](int64_t branch) { return !same_rows(by_branch[branch], first); });
  }
  return gather(by_branch);
}

Tensor Rows::leave_stack(Tensor tokens) {
  std::set<int64_t> done;
  for (const auto& [branch, permutation] : std::exchange(pending_, {})) {
    const int64_t group = isolate(branch);
    tokens = expand(tokens);
    if (done.insert(group).second)
      tokens = replace(tokens, group, shuffled(slice(tokens, group), permutation));
  }
  return tokens;
}

std::vector<Tensor> Rows::outputs(const Tensor& x) const {
  std::vector<Tensor> result;
  for (int64_t b = 0; b < branches(); ++b) result.push_back(slice(x, group_of(b)));
  return result;
}

}  // namespace tiller
