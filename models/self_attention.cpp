#include <ATen/ATen.h>

#include <algorithm>

#include "models/branch.h"

namespace tiller {

Tensor Rows::slices(const Tensor& x, const std::vector<int64_t>& groups) const {
  const auto count = std::ssize(groups);
  if (groups.back() - groups.front() + 1 == count)
    return x.narrow(0, groups.front() * images_, count * images_);
  std::vector<Tensor> parts;
  for (const int64_t g : groups) parts.push_back(slice(x, g));
  return at::cat(parts);
}

int64_t Rows::branches_of(const std::vector<int64_t>& groups) const {
  int64_t count = 0;
  for (const int64_t g : groups) count += std::ssize(members_[g]);
  return count;
}

void Rows::observe(const Site& site, const std::function<Heads(int64_t)>& heads) const {
  for (int64_t b = 0; b < branches(); ++b) {
    if (!acts(b, site, Perturbation::Kind::observe)) continue;
    const Heads own = heads(group_of(b));
    branches_[b].perturbation->observe(site, own.q, own.k);
  }
}

Rows::Rules Rows::self_rules(const Site& site) {
  Rules rules;
  for (int64_t b = 0; b < branches(); ++b)
    if (acts(b, site, Perturbation::Kind::attention)) rules[isolate(b)] = branches_[b].perturbation;
  return rules;
}

void Rows::count_self_attention(const Tensor& v, const Rules& rules) {
  const auto identities = std::count_if(
      rules.begin(), rules.end(), [](const auto& rule) { return rule.second->is_identity(); });
  const double group = 4.0 * images_ * v.size(1) * v.size(2) * v.size(2) * v.size(3);
  count(FlopCount{group * double(groups() - identities), group * double(branches())});
}

Tensor Rows::attention(const Site& site, const Tensor& own_q, const Tensor& own_k,
                       const Tensor& own_v) {
  Tensor q = own_q, k = own_k, v = own_v;
  read_sources(site, q, k, v);
  observe(site, [&](int64_t group) { return Heads{slice(q, group), slice(k, group), {}}; });
  const Rules rules = self_rules(site);
  count_self_attention(v, rules);
  return attend(site, Heads{expand(q), expand(k), expand(v)}, rules);
}

bool Rows::is_identity(int64_t group, const Site& site) const {
  return std::all_of(members_[group].begin(), members_[group].end(), [&](int64_t branch) {
    return acts(branch, site, Perturbation::Kind::attention) &&
           branches_[branch].perturbation->is_identity();
  });
}

std::vector<Heads> Rows::project_apart(const Tensor& tokens, const std::vector<int64_t>& identities,
                                       const SelfProjection& project) {
  std::vector<Heads> heads(groups());
  std::vector<int64_t> others;
  for (int64_t g = 0; g < groups(); ++g)
    if (!std::count(identities.begin(), identities.end(), g)) others.push_back(g);
  if (!others.empty()) {
    doing_ = branches_of(others);
    const Heads all = project.all(slices(tokens, others));
    for (size_t i = 0; i < others.size(); ++i)
      heads[others[i]] = {slice(all.q, i), slice(all.k, i), slice(all.v, i)};
  }
  doing_ = 0;
  const Tensor values = project.values(slices(tokens, identities));
  doing_.reset();
  for (size_t i = 0; i < identities.size(); ++i) heads[identities[i]].v = slice(values, i);
  const double matrix =
      2.0 * images_ * tokens.size(1) * tokens.size(2) * values.size(1) * values.size(3);
  count(FlopCount{0, 3 * matrix * double(branches_of(identities))});
  return heads;
}

Tensor Rows::attention(const Site& site, const Tensor& tokens, const SelfProjection& project) {
  std::vector<int64_t> identities;
  for (int64_t g = 0; g < groups(); ++g)
    if (is_identity(g, site)) identities.push_back(g);
  if (identities.empty() || is_controlled(site)) {
    const Heads all = project.all(tokens);
    return attention(site, all.q, all.k, all.v);
  }
  std::vector<Heads> heads = project_apart(expand(tokens), identities, project);
  observe(site, [&](int64_t group) { return heads[group]; });
  const Rules rules = self_rules(site);
  while (std::ssize(heads) < groups()) heads.push_back(heads[parents_[heads.size()]]);
  count_self_attention(heads.front().v, rules);
  return attend(site, heads, rules);
}

}  // namespace tiller
