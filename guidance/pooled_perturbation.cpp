#include "guidance/pooled_perturbation.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {

bool PooledPerturbation::acts_at(const Site& site) const {
  const bool acts = parts_.front()->acts_at(site);
  for (const auto* part : parts_)
    if (part->acts_at(site) != acts)
      throw Error(site.path +
                  ": got a perturbation that acts at some steps of a window alone, "
                  "expected one that acts at all.");
  return acts;
}

/// The rows of x, (R, ...), that belong to a part.
Tensor PooledPerturbation::share(const Tensor& x, size_t part) const {
  const int64_t rows = x.size(0) / int64_t(parts_.size());
  return x.narrow(0, int64_t(part) * rows, rows);
}

/// rule(part, its index) of all, concatenated.
template <class Rule>
Tensor PooledPerturbation::joined(const Rule& rule) const {
  std::vector<Tensor> rows;
  for (size_t i = 0; i < parts_.size(); ++i) rows.push_back(rule(*parts_[i], i));
  return at::cat(rows);
}

Tensor PooledPerturbation::permutation(const Site& site) const {
  return joined([&](const Perturbation& part, size_t) { return part.permutation(site); });
}

Tensor PooledPerturbation::tokens(const Site& site, const Tensor& x) const {
  return joined([&](const Perturbation& part, size_t i) { return part.tokens(site, share(x, i)); });
}

Tensor PooledPerturbation::attention(const Site& site, const Tensor& q, const Tensor& k,
                                     const Tensor& v) const {
  return joined([&](const Perturbation& part, size_t i) {
    return part.attention(site, share(q, i), share(k, i), share(v, i));
  });
}

Tensor PooledPerturbation::context() const {
  if (!context_.defined())
    context_ = joined([](const Perturbation& part, size_t) { return part.context(); });
  return context_;
}

Tensor PooledPerturbation::blend(const Tensor& own, const Tensor& second) const {
  return joined([&](const Perturbation& part, size_t i) {
    return part.blend(share(own, i), share(second, i));
  });
}

Tensor PooledPerturbation::time(const Tensor& embedding) const {
  return joined([&](const Perturbation& part, size_t i) { return part.time(share(embedding, i)); });
}

void PooledPerturbation::observe(const Site& site, const Tensor& q, const Tensor& k) const {
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i]->observe(site, share(q, i), share(k, i));
}

}  // namespace tiller
